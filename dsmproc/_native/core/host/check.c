/* What must hold at a host between any two steps; the numbers are what dsm_host_check returns. */
#include "core/host/host.h"

struct seen {
    uint32_t unacked, invalid_later, in_dirty, in_owed, seeking, handing, awaited;
};

static int check_page(const struct dsm_host *host, const struct dsm_page *page, struct seen *seen) {
    uint32_t state = page->state;
    if (host->config.model == DSM_SC) return dsm_single_check(page);
    bool home = state >= DSM_HOME && state <= DSM_HOME_PRIVATE;
    seen->unacked += (page->flags & DSM_UNACKED) != 0;
    seen->invalid_later += (page->flags & DSM_INVALID_LATER) != 0;
    seen->in_dirty += (page->flags & DSM_IN_DIRTY) != 0;
    seen->in_owed += (page->flags & DSM_IN_OWED) != 0;
    seen->seeking += (page->flags & DSM_SEEKING) != 0;
    seen->handing += (page->flags & DSM_HANDING) != 0;
    seen->awaited += (page->flags & DSM_AWAITED) != 0;
    if (state >= DSM_PAGE_STATES) return 1;
    bool homeless = dsm_page_is_homeless(host, page);
    if (homeless && (home || state == DSM_FETCHING || page->flags & DSM_UNACKED)) return 27;
    if (!homeless && state == DSM_STALE) return 28;
    if (!homeless && home != (page->home == host->config.host) && state != DSM_ZERO &&
        state != DSM_LOST)
        return 2;
    /* CLAIM: a written page is looked at by the next publish, or is being claimed by this one */
    if ((state == DSM_DIRTY || state == DSM_HOME_DIRTY) &&
        !(page->flags & (DSM_IN_DIRTY | DSM_CLAIMED)))
        return 3;
    if (state == DSM_FETCHING && page->flags & DSM_UNACKED) return 4; /* ONE_DIFF */
    bool taking = page->flags & DSM_TAKING, handing = page->flags & DSM_HANDING;
    bool kept = page->flags & DSM_UNACKED;
    if (!home && (state == DSM_FETCHING || kept) != (page->get != 0)) return 5; /* CROSSED, KEPT */
    if (homeless && page->waiters && !dsm_homeless_asks(host, page)) return 29;
    if (!homeless && page->waiters && state != DSM_FETCHING && !handing &&
        !(state == DSM_ABSENT && page->flags & (DSM_UNACKED | DSM_SEEKING)))
        return 6; /* nobody waits for nothing */
    if (page->flags & DSM_INVALID_LATER && !taking && !handing &&
        !(state == DSM_DIRTY && page->flags & DSM_UNACKED))
        return 7;
    if (taking && !(page->flags & DSM_UNACKED && (state == DSM_CLEAN || state == DSM_DIRTY)))
        return 16;
    if (handing && state != DSM_CLEAN) return 17; /* move.c, b */
    if (home && page->flags & DSM_UNACKED) return 18;
    if (page->flags & DSM_CHANGED && !(page->flags & DSM_IN_OWED)) return 19;
    if (page->flags & DSM_APPLIED && !(page->flags & DSM_CHANGED)) return 25;
    if (page->flags & DSM_AWAITED && !home) return 30;
    if (home && page->flags & (DSM_SEEKING | DSM_OFFERED)) return 26;
    if (page->flags & DSM_SEEKING && page->flags & (DSM_TAKING | DSM_HANDING)) return 22;
    if (kept && !(page->flags & DSM_SEEKING) && dsm_is_lost(host, page->home)) return 23; /* KEPT */
    if (state == DSM_HOME_PRIVATE && page->flags & DSM_HELD) return 8; /* FETCHED */
    if (page->carried && !(page->flags & DSM_CHANGED)) return 20;      /* bound.c, a */
    if (page->run & DSM_HOME_TWIN && state != DSM_HOME_DIRTY) return 21;
    return 0;
}

static int check_region(const struct dsm_host *host, const struct dsm_region *region,
                        struct seen *seen) {
    for (uint32_t index = 0; index < region->pages; index++) {
        const struct dsm_page *page = dsm_page_known(host, region, index);
        int broken = page ? check_page(host, page, seen) : 0;
        if (broken) return broken;
        if (!page) index |= DSM_CHUNK - 1;
    }
    return 0;
}

/* 32: what is known of a lock's dead holder goes with its token (OWNER_DIED) */
static int check_locks(const struct dsm_host *host) {
    for (uint32_t at = 0; at < host->locks.room; at++) {
        dsm_ref ref = dsm_map_slot(&host->arena, &host->locks, at);
        const struct dsm_lock *lock = ref ? dsm_at(host, ref) : NULL;
        if (lock && lock->died && lock->token == DSM_TOKEN_ABSENT) return 32;
    }
    return 0;
}

/* Nothing that a publish waits for is outstanding: it would go on with some later event only. */
static bool publish_rests(const struct dsm_host *host) {
    if (host->publish == DSM_ACKING) return !host->unacked;
    return host->publish == DSM_COMPARING && !host->todo && !host->claims && !host->nclaim;
}

int dsm_host_check(const struct dsm_host *host) {
    struct seen seen = {0};
    if (host->ncompared || host->word_lock) return 0; /* within a step: results are to be fed */
    for (dsm_ref at = host->region_list; at; at = dsm_next(host, at)) {
        const struct dsm_region *region = dsm_at(host, at);
        if (region->state != DSM_REGION_READY) continue;
        int broken = check_region(host, region, &seen);
        if (broken) return broken;
    }
    if (seen.unacked != host->unacked) return 9;
    if (seen.invalid_later != host->invalid_later) return 10;
    if (seen.seeking != host->seeking || seen.handing != host->handing) return 24;
    if (seen.awaited != host->awaited) return 31;
    if (seen.in_dirty != host->ndirty || host->todo > host->ndirty) return 11;
    if (seen.in_owed != host->nowed) return 12;
    if (host->publish == DSM_IDLE && (host->jobs.head || host->todo || host->claims)) return 13;
    if (host->publish == DSM_IDLE && host->next_jobs.head) return 14;
    if (host->gate.head && !host->invalid_later) return 15;
    if (host->ready.head) return 35;
    if (publish_rests(host)) return 36;
    return check_locks(host);
}

/* ---- for dumps ------------------------------------------------------------------------- */

static const char *const state_names[DSM_PAGE_STATES] = {
    "ZERO", "ABSENT",     "FETCHING",     "CLEAN", "DIRTY",
    "HOME", "HOME_DIRTY", "HOME_PRIVATE", "LOST",  "STALE"};

const char *dsm_page_state_name(uint32_t state) {
    return state < DSM_PAGE_STATES ? state_names[state] : "?";
}

uint64_t dsm_host_page(const struct dsm_host *host, uint64_t id) {
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    if (!region || region->state != DSM_REGION_READY || (uint32_t)id >= region->pages) return 0;
    const struct dsm_page *page = dsm_page_known(host, region, (uint32_t)id);
    if (!page) return (uint64_t)DSM_NO_HOST << 32;
    return page->state | (uint64_t)page->flags << 8 | (uint64_t)page->home << 32;
}
