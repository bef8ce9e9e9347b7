/**
 * Owns when a container's kills for memory are told: at each rise of the guest's count, and at most once a second, because
 * a guest must not flood containerd.
 */
const INTERVAL_MS = 1_000;

export class OomReports {
  #kills = 0n;
  #toldMs = Number.NEGATIVE_INFINITY;

  /** Takes the count of kills so far; whether it is to be told. */
  isNews(kills: bigint): boolean {
    if (kills <= this.#kills) return false;
    this.#kills = kills;
    const now = performance.now();
    if (now - this.#toldMs < INTERVAL_MS) return false;
    this.#toldMs = now;
    return true;
  }
}
