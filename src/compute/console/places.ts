/** How many consoles may be open at once: in this process, and of one project, so that none takes all. */

export interface Places {
  /** Takes a place. @returns what gives it back, once; undefined where there is none left */
  take(project: string): (() => void) | undefined;
}

/**
 * @param all in this process
 * @param each of one project
 */
export function createPlaces(all: number, each: number): Places {
  const taken = new Map<string, number>();
  let total = 0;
  return {
    take(project) {
      const own = taken.get(project) ?? 0;
      if (total >= all || own >= each) return undefined;
      taken.set(project, own + 1);
      total += 1;
      let isTaken = true;
      return () => {
        if (!isTaken) return;
        isTaken = false;
        total -= 1;
        const left = (taken.get(project) ?? 1) - 1;
        if (left === 0) taken.delete(project);
        else taken.set(project, left);
      };
    },
  };
}
