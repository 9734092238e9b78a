/* Sets of hosts: a bit for each. */
#ifndef DSM_CORE_HOSTS_H
#define DSM_CORE_HOSTS_H
#include "core/core.h"
#include <stdbool.h>
#include <stdint.h>

enum { DSM_HOST_WORDS = DSM_MAX_HOSTS / 64 };

static inline bool dsm_hosts_has(const uint64_t *set, uint32_t host) {
    return host < DSM_MAX_HOSTS && (set[host / 64] >> (host % 64) & 1);
}

static inline void dsm_hosts_set(uint64_t *set, uint32_t host, bool on) {
    uint64_t bit = 1ULL << (host % 64);
    set[host / 64] = on ? set[host / 64] | bit : set[host / 64] & ~bit;
}

static inline bool dsm_hosts_any(const uint64_t *set) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < DSM_HOST_WORDS; i++)
        all |= set[i];
    return all != 0;
}

static inline void dsm_hosts_clear(uint64_t *set) {
    for (uint32_t i = 0; i < DSM_HOST_WORDS; i++)
        set[i] = 0;
}

#define DSM_EACH_HOST(host, set)                                                                   \
    for (uint32_t host = 0; host < DSM_MAX_HOSTS; host++)                                          \
        if (dsm_hosts_has(set, host))

#endif
