/** The last step of `setup.sh --test`: puts the containerds that the tests run into the cache. */
import { CONTAINERD_RELEASES, findContainerd } from './helpers/containerd/programs.ts';

for (const release of CONTAINERD_RELEASES) await findContainerd(release);
