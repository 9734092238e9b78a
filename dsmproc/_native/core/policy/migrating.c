/* migrating: the home follows the writer, always (JUMP's Migrating-Home Protocol).
 *
 * JUMP asks at the fault, with every read too, and broadcasts notices of migration at every
 * synchronisation. Here the writer asks when it publishes, notices carry homes, and what reaches an
 * old home is passed on by it; the update that the release of 2001 could lose (a copy from before
 * the move is written, and its diff goes to the old home, which applies it to its own copy) is not
 * lost: rule FORWARD.
 */
#include "core/policy/policy.h"

static bool takes(const struct dsm_written *written) {
    (void)written;
    return true;
}

const struct dsm_policy dsm_policy_migrating = {"migrating", dsm_policy_by_claim, takes};
