/* Home policies: where a page of a region lives before anybody has written it.
 *
 * first: nobody knows; its first publisher becomes its home, by a claim at the master.
 * fixed: dealt out over the hosts page by page (JIAJIA V1.1's cyclic homes).
 */
#ifndef DSM_CORE_POLICY_H
#define DSM_CORE_POLICY_H
#include <stdbool.h>
#include <stdint.h>

bool dsm_policy_known(uint32_t policy);
/* DSM_NO_HOST: to be claimed. */
uint32_t dsm_policy_first_home(uint32_t policy, uint32_t index, uint32_t hosts);

#endif
