/**
 * Owns the bounds of everything that an image can make us hold or write. A layer that goes beyond one is refused with
 * its digest and the entry's name before anything of it is written to a layer image.
 */

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** Disk slots that a sandbox has for layers; images with more layers are packed into as many block images. */
export const MAX_LAYER_DISKS = 8;
/** The most that overlay drivers of other engines take; deeper images are refused. */
export const MAX_IMAGE_LAYERS = 128;

/** Manifest, index and configuration documents. */
export const MAX_MANIFEST_BYTES = 4 * MIB;
export const MAX_CONFIG_BYTES = 8 * MIB;

/** PATH_MAX without the final zero: a longer path cannot be opened in the guest. */
export const MAX_PATH_BYTES = 4095;
export const MAX_NAME_BYTES = 255;
export const MAX_SYMLINK_BYTES = 4095;
/** The body of one extended (PAX) header, or of one GNU long name. */
export const MAX_EXTENSION_BYTES = MIB;
/** XATTR_SIZE_MAX of Linux, less the one byte that EROFS's 16-bit length cannot say. */
export const MAX_XATTR_VALUE_BYTES = 64 * 1024 - 1;
/** XATTR_NAME_MAX of Linux. */
export const MAX_XATTR_NAME_BYTES = 255;
/** All attributes of one inode. */
export const MAX_XATTRS_BYTES = 128 * 1024;
/** Runs of data in one sparse file. */
export const MAX_SPARSE_EXTENTS = 64 * 1024;
/** Symbolic links followed on the way to one entry (MAXSYMLINKS of Linux). */
export const MAX_LINK_HOPS = 40;

/** Bounds that an operator may move. */
export interface ImageLimits {
  /** Bytes of one layer's tar stream after decompression. */
  readonly layerStreamBytes: number;
  /** Sum of the sizes of one layer's files, holes counted. */
  readonly layerContentBytes: number;
  readonly layerEntries: number;
  /** Names, link targets and attributes of one layer: what its list of entries costs in memory. */
  readonly layerMetadataBytes: number;
  /** All entries of all layers. */
  readonly imageEntries: number;
}

export const DEFAULT_LIMITS: ImageLimits = {
  layerStreamBytes: 32 * GIB,
  layerContentBytes: 64 * GIB,
  layerEntries: 500_000,
  layerMetadataBytes: 256 * MIB,
  imageEntries: 1_000_000,
};
