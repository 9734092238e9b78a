/* adaptive: the home moves to a host that alone writes the page, or that has rewritten most of it.
 *
 * A streak of publishes in which nobody else changed the page says that the host is its only
 * writer; each time a home that moved here moves on before it was of use, a longer one is asked for
 * (feedback as in Fang, Wang, Zhu and Lau, CLUSTER 2004). A diff of most of the page is dearer than
 * what moves the home, so that goes at once, unless it was of no use here the last time: a page
 * that everybody rewrites in turn is better sent to a home that stays, before it is asked for (rx).
 */
#include "core/policy/policy.h"

static bool takes(const struct dsm_written *written) {
    bool large = written->diff > written->page_size / 2;
    return written->streak > written->patience || (large && !written->patience);
}

const struct dsm_policy dsm_policy_adaptive = {"adaptive", dsm_policy_by_claim, takes};
