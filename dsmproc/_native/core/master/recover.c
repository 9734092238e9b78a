/* Where a page lives whose home is gone, at the master.
 *
 * A host that left has told where its pages live. Of one that died, the hosts are asked what they
 * have. What they say decides:
 *
 *   one is at home, or the page is on its way to it      it lives there (not announced yet)
 *   a copy that is provably the newest                   that host is the home from now on
 *   neither                                              the page is lost
 *
 * Invariants.
 *   NEWEST, APPLIED: a copy is the newest if its host was told of all announced changes of the
 *      page by others and has it still, and no other host has changes that the lost home applied
 *      and that are not announced yet. What a home did not acknowledge its writer has still, and
 *      sends again (KEPT)
 *   CUT: hosts answer after they have cut off all hosts that are gone, and before the answer
 *      counts none has died: so a home that nobody knows of does not exist. A home is handed on
 *      only by a home, and whoever got it has said so, or gave it on to one that has
 *
 * An epoch that comes up in the answers may be of a home that had it after its host was asked. So
 * they are asked again, until they say nothing newer than what was known before. Each time has a
 * number, the round.
 */
#include "core/master/master.h"

static struct dsm_search *search_of(struct dsm_master *master, uint64_t page) {
    dsm_ref ref = dsm_map_get(&master->arena, &master->searches, page);
    return ref ? dsm_at(master, ref) : NULL;
}

static struct dsm_search *make_search(struct dsm_master *master, uint64_t page) {
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof(struct dsm_search));
    struct dsm_search *search = dsm_at(master, ref);
    *search = (struct dsm_search){.page = page, .next = master->search_list, .home = DSM_NO_HOST};
    search->at_home = DSM_NO_HOST;
    master->search_list = ref;
    dsm_map_put(&master->arena, &master->searches, page, ref);
    return search;
}

static void end_search(struct dsm_master *master, struct dsm_search *search) {
    dsm_ref *at = &master->search_list, ref = dsm_ref_of(master, search);
    while (*at != ref)
        at = &((struct dsm_search *)dsm_at(master, *at))->next;
    *at = search->next;
    dsm_map_drop(&master->arena, &master->searches, search->page);
    dsm_arena_give(&master->arena, ref, sizeof *search);
}

/* ---- telling ----------------------------------------------------------------------------- */

static void put_found(struct dsm_master *master, const struct dsm_found *found) {
    dsm_put64(master->out, found->page);
    dsm_put8(master->out, found->how);
    dsm_put16(master->out, found->home);
    dsm_put32(master->out, found->epoch);
}

void dsm_mrecover_tell(struct dsm_master *master) {
    DSM_EACH_HOST(host, master->joined) {
        uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_FOUND);
        dsm_put16(master->out, master->nfound);
        for (uint32_t i = 0; i < master->nfound; i++)
            put_found(master, &master->found[i]);
        dsm_sent(master->out, message, 0);
    }
    master->nfound = 0;
}

static void answer(struct dsm_master *master, const uint64_t *to, struct dsm_found found) {
    DSM_EACH_HOST(host, to) {
        uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_FOUND);
        dsm_put16(master->out, 1);
        put_found(master, &found);
        dsm_sent(master->out, message, 0);
    }
}

/* All hosts hear it: those that asked go on, those that have copies know what becomes of them. */
static void announce(struct dsm_master *master, struct dsm_search *search, uint32_t how,
                     uint32_t home, uint32_t epoch) {
    if (master->nfound == DSM_SLICE) dsm_mrecover_tell(master);
    master->found[master->nfound++] = (struct dsm_found){search->page, how, home, epoch};
    end_search(master, search);
}

/* ---- asking ------------------------------------------------------------------------------ */

static uint32_t begin_ask(struct dsm_master *master, uint32_t host, uint32_t *n_at) {
    uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_ASK);
    for (uint32_t i = 0; i < DSM_HOST_WORDS; i++)
        dsm_put64(master->out, master->gone[i]);
    dsm_put32(master->out, master->round);
    *n_at = master->out->nbytes;
    dsm_put16(master->out, 0);
    return message;
}

/* Ask all hosts about the pages of searches whose turn it is, after all that is to be told. */
static void ask_hosts(struct dsm_master *master) {
    master->round++;
    DSM_EACH_HOST(host, master->joined) {
        uint32_t n = 0, n_at = 0, message = 0;
        for (dsm_ref at = master->search_list; at; at = dsm_next(master, at)) {
            const struct dsm_search *search = dsm_at(master, at);
            if (!search->again) continue;
            if (!n && DSM_RULE_ON(master, DSM_RULE_NEWEST)) dsm_tell(master, host);
            if (!n) message = begin_ask(master, host, &n_at);
            dsm_put64(master->out, search->page);
            dsm_patch16(master->out, n_at, ++n);
            if (n < DSM_SLICE) continue;
            dsm_sent(master->out, message, 0);
            n = 0;
        }
        if (n) dsm_sent(master->out, message, 0);
    }
    for (dsm_ref at = master->search_list; at; at = dsm_next(master, at)) {
        struct dsm_search *search = dsm_at(master, at);
        if (!search->again) continue;
        search->again = 0;
        search->asked = 1;
        search->round = master->round;
        search->log = master->log;
        search->prior = search->epoch;
        search->coming = 0;
        search->at_home = DSM_NO_HOST;
        search->home_epoch = 0;
        dsm_hosts_clear(search->copies);
        dsm_hosts_clear(search->applied);
        for (uint32_t i = 0; i < DSM_HOST_WORDS; i++)
            search->silent[i] = master->joined[i];
    }
}

/* Nobody was asked yet: is it known where the page lives, or is it time to ask? */
static void consider(struct dsm_master *master, struct dsm_search *search) {
    const struct dsm_version *version = dsm_version_find(master, search->page);
    bool newer = version->epoch > search->epoch; /* than what the askers know */
    if (newer || search->home == DSM_NO_HOST) {
        search->epoch = version->epoch;
        search->home = version->home;
    }
    if (version->lost)
        announce(master, search, DSM_FOUND_LOST, search->home, search->epoch);
    else if (!dsm_hosts_has(master->joined, search->home))
        search->again = 1;
    else if (newer)
        announce(master, search, DSM_FOUND_HOME, search->home, search->epoch);
    /* else: the askers know that it is gone before we do */
}

static bool where_sound(const struct dsm_master *master, struct dsm_cursor cursor, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        uint32_t home = dsm_get16(&cursor);
        dsm_get32(&cursor);
        const struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        if (home >= DSM_MAX_HOSTS || (region && (uint32_t)id >= region->pages)) return false;
    }
    return true;
}

static void where(struct dsm_master *master, uint32_t from, uint64_t id, uint32_t home,
                  uint32_t epoch) {
    const struct dsm_version *version = dsm_version_find(master, id);
    if (!version) return; /* the region has ended, and the host will hear of it */
    struct dsm_search *search = search_of(master, id);
    if (!search && !version->lost && version->epoch > epoch &&
        dsm_hosts_has(master->joined, version->home)) {
        uint64_t asker[DSM_HOST_WORDS] = {0};
        dsm_hosts_set(asker, from, true);
        answer(master, asker,
               (struct dsm_found){id, DSM_FOUND_HOME, version->home, version->epoch});
        return;
    }
    bool made = !search;
    if (made) search = make_search(master, id);
    dsm_hosts_set(search->askers, from, true);
    if (epoch > search->epoch || search->home == DSM_NO_HOST) {
        search->epoch = epoch;
        search->home = (uint16_t)home;
    }
    if (!search->asked) consider(master, search);
}

int dsm_mrecover_on_where(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_SLICE || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 14 ||
        !where_sound(master, *cursor, n))
        return DSM_E_PEER;
    uint64_t room = sizeof(struct dsm_search) + DSM_VERSIONS * sizeof(struct dsm_version);
    if (!dsm_arena_room(&master->arena, n * room)) return DSM_E_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        uint32_t home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        where(master, from, id, home, epoch);
    }
    ask_hosts(master);
    return DSM_OK;
}

/* ---- deciding ---------------------------------------------------------------------------- */

static bool is_newest(const struct dsm_master *master, const struct dsm_search *search,
                      const struct dsm_version *version, uint32_t host) {
    if (!dsm_hosts_has(search->copies, host)) return false;
    if (dsm_version_concerns(master, version, host, search->log) &&
        DSM_RULE_ON(master, DSM_RULE_NEWEST))
        return false;
    DSM_EACH_HOST(other, search->applied)
        if (other != host && DSM_RULE_ON(master, DSM_RULE_APPLIED)) return false;
    return true;
}

/* Rather one that asks: it uses the page. */
static uint32_t newest_copy(const struct dsm_master *master, const struct dsm_search *search,
                            const struct dsm_version *version) {
    uint32_t chosen = DSM_NO_HOST;
    DSM_EACH_HOST(host, search->copies) {
        if (!is_newest(master, search, version, host)) continue;
        if (chosen == DSM_NO_HOST ||
            (dsm_hosts_has(search->askers, host) && !dsm_hosts_has(search->askers, chosen)))
            chosen = host;
    }
    return chosen;
}

static void lives(struct dsm_master *master, struct dsm_search *search, uint32_t how, uint32_t home,
                  uint32_t epoch) {
    struct dsm_version *version = dsm_version_find(master, search->page);
    if (epoch > version->epoch) {
        version->epoch = epoch;
        version->home = (uint16_t)home;
    }
    announce(master, search, how, home, epoch);
}

/* All have answered. */
static void decide(struct dsm_master *master, struct dsm_search *search) {
    struct dsm_version *version = dsm_version_find(master, search->page);
    bool here = search->at_home != DSM_NO_HOST && search->home_epoch >= search->epoch;
    if (version->epoch > search->epoch && version->epoch > search->home_epoch) {
        search->epoch = version->epoch; /* a new home has announced itself meanwhile */
        search->home = version->home;
        here = false;
        search->coming = dsm_hosts_has(master->joined, version->home);
    }
    bool coming = search->coming && dsm_hosts_has(master->joined, search->home);
    if (here) {
        lives(master, search, DSM_FOUND_HOME, search->at_home, search->home_epoch);
    } else if (coming) {
        lives(master, search, DSM_FOUND_HOME, search->home, search->epoch);
    } else if (search->epoch > search->prior) {
        search->again = 1;
    } else {
        uint32_t home = newest_copy(master, search, version);
        if (home != DSM_NO_HOST) {
            lives(master, search, DSM_FOUND_COPY, home, search->epoch + 1);
            return;
        }
        version->lost = 1;
        announce(master, search, DSM_FOUND_LOST, search->home, search->epoch);
    }
}

static void hear(struct dsm_search *search, uint32_t from, uint32_t what, uint32_t home,
                 uint32_t epoch) {
    dsm_hosts_set(search->silent, from, false);
    if (what & DSM_SAY_COPY) dsm_hosts_set(search->copies, from, true);
    if (what & DSM_SAY_APPLIED) dsm_hosts_set(search->applied, from, true);
    if (what & DSM_SAY_HOME && (search->at_home == DSM_NO_HOST || epoch > search->home_epoch)) {
        search->at_home = (uint16_t)from;
        search->home_epoch = epoch;
    }
    if (home < DSM_MAX_HOSTS && epoch > search->epoch) {
        search->epoch = epoch;
        search->home = (uint16_t)home;
        search->coming = 0;
    }
    if (what & DSM_SAY_COMING) search->coming |= from == search->home;
}

int dsm_mrecover_on_say(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t round = dsm_get32(cursor), n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_BATCH || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 15)
        return DSM_E_PEER;
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_search *search = search_of(master, dsm_get64(cursor));
        uint32_t what = dsm_get8(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        if (!search || search->round != round || !dsm_hosts_has(search->silent, from)) continue;
        hear(search, from, what, home, epoch);
        if (dsm_hosts_any(search->silent)) continue;
        search->asked = 0;
        decide(master, search);
    }
    ask_hosts(master);
    return DSM_OK;
}

/* ---- hosts come and go ------------------------------------------------------------------- */

/* It has never heard of those that are gone. */
void dsm_mrecover_host_joined(struct dsm_master *master, uint32_t host) {
    uint32_t n_at;
    if (dsm_hosts_any(master->gone)) dsm_sent(master->out, begin_ask(master, host, &n_at), 0);
}

void dsm_mrecover_host_lost(struct dsm_master *master, uint32_t host) {
    for (dsm_ref at = master->search_list, next; at; at = next) {
        struct dsm_search *search = dsm_at(master, at);
        next = search->next;
        dsm_hosts_set(search->askers, host, false);
        if (search->asked)
            search->again = 1;
        else
            consider(master, search);
    }
    ask_hosts(master);
}

void dsm_mrecover_forget(struct dsm_master *master, uint32_t region) {
    for (dsm_ref at = master->search_list, next; at; at = next) {
        struct dsm_search *search = dsm_at(master, at);
        next = search->next;
        if (search->page >> 32 == region) end_search(master, search);
    }
}
