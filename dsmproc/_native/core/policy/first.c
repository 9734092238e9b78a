/* first: the first publisher of a page becomes its home, and it stays there. */
#include "core/policy/policy.h"

const struct dsm_policy dsm_home_first = {"first", dsm_home_by_claim, dsm_home_stays};
