/* Spinning: how long a thread looks again and again before it sleeps.
 *
 * Waking a thread that sleeps on an idle core costs 25 to 50 us, more than most answers take. So
 * after activity a thread looks for more during at most dsmproc_spin.limit, which doubles when
 * something came in that time and halves when nothing did. Between two looks it yields: if another
 * thread takes the core then, cores are scarce, and it does not spin at all for a while (longer
 * each time in a row). With one core it never does.
 *
 *   struct dsm_spinning now;
 *   dsm_spin_begin(spin, &now);
 *   while (!(came = look()) && dsm_spin_again(spin, &now)) {}
 *   dsm_spin_end(spin, &now, came);
 */
#ifndef DSM_ENGINE_SPIN_H
#define DSM_ENGINE_SPIN_H
#include "include/dsmproc_api.h"
#include <stdbool.h>

struct dsm_spinning {
    uint64_t until; /* 0: not now */
    uint64_t preemptions;
    uint32_t looks;
};

void dsm_spin_begin(struct dsmproc_spin *spin, struct dsm_spinning *now);
/* True: look again. */
bool dsm_spin_again(struct dsmproc_spin *spin, struct dsm_spinning *now);
void dsm_spin_end(struct dsmproc_spin *spin, const struct dsm_spinning *now, bool came);

#endif
