/* Home policies: where a page lives. Each is one small file; policy.c is their table.
 *
 * Two questions are all that they differ in. Where does a page live before anybody has written it?
 * And may a host that has changed its copy ask the home to move to it, instead of sending the diff?
 * It gets the home only if nobody else has changed the page since it fetched it (rule COUNTED), so
 * a policy can never lose a write, only time.
 */
#ifndef DSM_CORE_POLICY_POLICY_H
#define DSM_CORE_POLICY_POLICY_H
#include "core/core.h"
#include <stdbool.h>
#include <stdint.h>

/* What a writer knows of the page when it has compared it with its twin. */
struct dsm_written {
    uint32_t diff, page_size; /* bytes of the diff, of the page */
    uint32_t streak;          /* publishes in a row in which only this host changed it */
    uint32_t patience;        /* how often a home that moved here moved on at once */
    bool barrier;             /* this publish goes before an arrival at a barrier */
};

struct dsm_policy {
    const char *name;
    /* Of a region's page `index`, of `pages`. DSM_NO_HOST: to be claimed. */
    uint32_t (*first_home)(uint32_t index, uint32_t pages, uint32_t hosts);
    bool (*takes)(const struct dsm_written *written);
};

extern const struct dsm_policy dsm_policy_first, dsm_policy_fixed, dsm_policy_blocks,
    dsm_policy_barrier, dsm_policy_migrating, dsm_policy_adaptive, dsm_policy_homeless;

bool dsm_policy_known(uint32_t policy);
const struct dsm_policy *dsm_policy(uint32_t policy);
uint32_t dsm_policy_first_home(uint32_t policy, uint32_t index, uint32_t pages, uint32_t hosts);
/* What several policies share. */
static inline uint32_t dsm_policy_by_claim(uint32_t index, uint32_t pages, uint32_t hosts) {
    (void)index, (void)pages, (void)hosts;
    return DSM_NO_HOST;
}

static inline bool dsm_policy_stays(const struct dsm_written *written) {
    (void)written;
    return false;
}

#endif
