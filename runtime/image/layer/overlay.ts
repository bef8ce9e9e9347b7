/**
 * Owns overlay semantics on trees: what two adjacent layers are together. Used twice: for the view of everything below
 * a layer, and to pack several layers into one image. It changes the lower tree and leaves the upper one alone.
 */
import { Directory, type Node, Whiteout } from './tree.ts';

/**
 * Lays `upper` over `lower`, which is changed. `lowest` says that nothing is below: whiteouts and opaque marks have then
 * done their work and vanish; otherwise they are kept for the layers below.
 */
export function applyLayer(lower: Directory, upper: Directory, lowest: boolean): void {
  lower.attributes = upper.attributes;
  lower.implicit &&= upper.implicit;
  if (upper.opaque) {
    lower.children.clear();
    lower.opaque = !lowest;
  }
  for (const [name, node] of upper.children) {
    const existing = lower.children.get(name);
    if (node instanceof Directory) lower.children.set(name, merged(existing, node, lowest));
    else if (node instanceof Whiteout && lowest) lower.children.delete(name);
    else lower.children.set(name, node);
  }
}

/** A copy of a tree whose directories are its own. */
export function copyLayer(directory: Directory, lowest: boolean): Directory {
  const copy = new Directory(directory.attributes, directory.implicit);
  copy.opaque = directory.opaque && !lowest;
  for (const [name, node] of directory.children) {
    if (node instanceof Directory) copy.children.set(name, copyLayer(node, lowest));
    else if (!(node instanceof Whiteout && lowest)) copy.children.set(name, node);
  }
  return copy;
}

function merged(existing: Node | undefined, upper: Directory, lowest: boolean): Directory {
  if (existing instanceof Directory && !upper.opaque) {
    applyLayer(existing, upper, lowest);
    return existing;
  }
  const copy = copyLayer(upper, lowest);
  // A directory that takes the place of a file, a whiteout or another directory must go on hiding what is further down.
  if (existing !== undefined && !lowest) copy.opaque = true;
  return copy;
}
