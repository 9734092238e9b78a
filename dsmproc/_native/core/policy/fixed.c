/* fixed, blocks: pages are dealt out over the hosts and stay there (JIAJIA V1.1): one by one, or in
 * as many blocks as there are hosts. */
#include "core/core.h"
#include "core/policy/policy.h"

static uint32_t one_by_one(uint32_t index, uint32_t pages, uint32_t hosts) {
    (void)pages;
    return hosts ? index % hosts : DSM_NO_HOST;
}

static uint32_t in_blocks(uint32_t index, uint32_t pages, uint32_t hosts) {
    return hosts && index < pages ? (uint32_t)((uint64_t)index * hosts / pages) : DSM_NO_HOST;
}

const struct dsm_policy dsm_policy_fixed = {"fixed", one_by_one, dsm_policy_stays};
const struct dsm_policy dsm_policy_blocks = {"blocks", in_blocks, dsm_policy_stays};
