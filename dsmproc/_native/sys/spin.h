/* Spinning: how long a thread looks again and again before it sleeps.
 *
 * Waking a thread that sleeps on an idle core costs 20 to 50 us, more than most answers take. So a
 * thread first looks for at most dsmproc_spin.limit. The limit grows when a wait, slept through or
 * not, was so short that looking would have been enough, and shrinks when it was longer: who gets
 * something to do now and then does not spin at all, and one short wait lets it try again.
 *
 * Where others want all cores, waking is cheap and spinning takes their time, also that of the very
 * thread that one waits for (a yield need not let it in). But whoever spins counts as running, so
 * the number of those that run tells nothing while others spin. Therefore nobody spins in the first
 * sixteenth of each quarter of a second of the machine's clock: all threads count in it, each when
 * it begins to wait, who runs then, and do not spin until the next if that is more than the cores.
 * With one core nobody ever does.
 *
 *   struct dsm_spinning now;
 *   dsm_spin_begin(spin, &now);
 *   while (!(came = look()) && dsm_spin_again(&now)) {}
 *   if (!came) sleep until it comes
 *   dsm_spin_end(spin, &now);
 */
#ifndef DSM_SYS_SPIN_H
#define DSM_SYS_SPIN_H
#include "include/dsmproc_api.h"
#include <stdbool.h>

struct dsm_spinning {
    uint64_t began;
    uint64_t until; /* 0: not now */
};

void dsm_spin_begin(struct dsmproc_spin *spin, struct dsm_spinning *now);
/* True: look again. */
bool dsm_spin_again(const struct dsm_spinning *now);
void dsm_spin_end(struct dsmproc_spin *spin, const struct dsm_spinning *now);

#endif
