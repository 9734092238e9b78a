#include "core/policy.h"

#include "core/core.h"

bool dsm_policy_known(uint32_t policy) {
    return policy <= DSM_HOME_FIXED;
}

uint32_t dsm_policy_first_home(uint32_t policy, uint32_t index, uint32_t hosts) {
    if (policy == DSM_HOME_FIXED && hosts) return index % hosts;
    return DSM_NO_HOST;
}
