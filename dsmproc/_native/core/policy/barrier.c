/* barrier: the only writer of a page since it was fetched becomes its home at a barrier.
 *
 * After JIAJIA V2.1, where the barrier's manager decides and announces the move with the release.
 * That is sound only if all processes of all hosts are parties; a multiprocessing barrier has some
 * processes as parties. So the arriving host asks the home, in place of the diff that it would have
 * sent (no more messages, fewer bytes), and the home refuses if anybody else has written.
 */
#include "core/policy/policy.h"

static bool takes(const struct dsm_written *written) {
    return written->barrier;
}

const struct dsm_policy dsm_policy_barrier = {"barrier", dsm_policy_by_claim, takes};
