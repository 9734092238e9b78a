/* fixed: pages are dealt out over the hosts one by one and stay there (JIAJIA V1.1, cyclic). */
#include "core/core.h"
#include "core/policy.h"

static uint32_t dealt(uint32_t index, uint32_t hosts) {
    return hosts ? index % hosts : DSM_NO_HOST;
}

const struct dsm_policy dsm_home_fixed = {"fixed", dealt, dsm_home_stays};
