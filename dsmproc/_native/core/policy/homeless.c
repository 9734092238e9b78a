/* homeless: a page has no home, only a base, the copy that is always kept: its first publisher's.
 * Its content is in what its writers keep: host/homeless.c, host/collect.c (TreadMarks). */
#include "core/policy/policy.h"

const struct dsm_policy dsm_policy_homeless = {"homeless", dsm_policy_by_claim, dsm_policy_stays};
