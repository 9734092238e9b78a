#include "core/policy/policy.h"

#include "core/core.h"

static const struct dsm_policy *const policies[DSM_HOME_POLICIES] = {
    [DSM_HOME_FIRST] = &dsm_policy_first,       [DSM_HOME_FIXED] = &dsm_policy_fixed,
    [DSM_HOME_BARRIER] = &dsm_policy_barrier,   [DSM_HOME_MIGRATING] = &dsm_policy_migrating,
    [DSM_HOME_ADAPTIVE] = &dsm_policy_adaptive, [DSM_HOME_HOMELESS] = &dsm_policy_homeless,
    [DSM_HOME_BLOCKS] = &dsm_policy_blocks,
};

bool dsm_policy_known(uint32_t policy) {
    return policy < DSM_HOME_POLICIES;
}

const struct dsm_policy *dsm_policy(uint32_t policy) {
    return policies[policy];
}

uint32_t dsm_policy_first_home(uint32_t policy, uint32_t index, uint32_t pages, uint32_t hosts) {
    return policies[policy]->first_home(index, pages, hosts);
}
