/** Owns the question which images living containers use. It knows no store of images and no state of containers. */
import { IMAGE } from '../oci/annotations.ts';
import type { Digest } from './digest.ts';

/** Answers who uses what. */
export interface ImageUsage {
  /** Ids of living containers, by the id of their image. */
  containersByImage(): Promise<ReadonlyMap<Digest, readonly string[]>>;
}

export const noUsage: ImageUsage = { containersByImage: async () => new Map() };

/** Usage from containers' annotations. `list` gives the living ones. */
export function usageFromAnnotations(
  list: () => Promise<readonly { readonly id: string; readonly annotations: Readonly<Record<string, string>> }[]>,
): ImageUsage {
  return {
    containersByImage: async () => {
      const users = new Map<Digest, string[]>();
      for (const { id, annotations } of await list()) {
        const image = annotations[IMAGE] as Digest | undefined;
        if (image !== undefined) users.set(image, [...(users.get(image) ?? []), id]);
      }
      return users;
    },
  };
}
