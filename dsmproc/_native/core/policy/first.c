/* first: the first publisher of a page becomes its home, and it stays there. */
#include "core/policy/policy.h"

const struct dsm_policy dsm_policy_first = {"first", dsm_policy_by_claim, dsm_policy_stays};
