/* The log of notices, and what each host must still be told.
 *
 * A stamp is a position in the log. The log itself is not kept: for each page its last stamp, the
 * host that made it, and the last stamp by any *other* host are enough. Page p concerns host B if
 * some stamp of p that is not B's own is newer than what B was told. Pages are linked in recency
 * order, so an answer costs its length, and nothing needs collecting.
 */
#include <assert.h>

#include "core/master/master.h"
#include "core/policy/policy.h"

static struct dsm_version *version_at(const struct dsm_master *master, dsm_ref ref) {
    return dsm_at(master, ref);
}

static uint64_t page_id(const struct dsm_master *master, const struct dsm_version *version) {
    const struct dsm_mregion *region = dsm_at(master, version->region);
    return (uint64_t)region->id << 32 | version->index;
}

static dsm_ref chunk_of(const struct dsm_master *master, const struct dsm_mregion *region,
                        uint32_t index) {
    return ((dsm_ref *)dsm_at(master, region->chunks))[index / DSM_VERSIONS];
}

static struct dsm_version *version_of(struct dsm_master *master, struct dsm_mregion *region,
                                      uint32_t index) {
    dsm_ref chunk = chunk_of(master, region, index);
    if (!chunk) {
        chunk = dsm_arena_take(&master->arena, DSM_VERSIONS * sizeof(struct dsm_version));
        struct dsm_version *versions = dsm_at(master, chunk);
        uint32_t first = index / DSM_VERSIONS * DSM_VERSIONS;
        for (uint32_t i = 0; i < DSM_VERSIONS; i++) {
            versions[i].region = dsm_ref_of(master, region);
            versions[i].index = first + i;
            versions[i].home = (uint16_t)dsm_policy_first_home(region->policy, first + i,
                                                               region->pages, region->hosts);
            versions[i].last_host = DSM_NO_HOST;
        }
        ((dsm_ref *)dsm_at(master, region->chunks))[index / DSM_VERSIONS] = chunk;
    }
    return (struct dsm_version *)dsm_at(master, chunk) + index % DSM_VERSIONS;
}

struct dsm_version *dsm_version_find(struct dsm_master *master, uint64_t id) {
    struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
    return region && (uint32_t)id < region->pages ? version_of(master, region, (uint32_t)id) : NULL;
}

/* ---- recency ----------------------------------------------------------------------------- */

static void unlink_version(struct dsm_master *master, struct dsm_version *version) {
    if (!version->last) return;
    if (version->newer)
        version_at(master, version->newer)->older = version->older;
    else
        master->newest = version->older;
    if (version->older) version_at(master, version->older)->newer = version->newer;
    version->newer = version->older = 0;
}

static void notice(struct dsm_master *master, struct dsm_version *version, uint32_t host) {
    dsm_ref ref = dsm_ref_of(master, version);
    unlink_version(master, version);
    if (version->last_host != host) version->other = version->last;
    version->last = master->log;
    version->last_host = (uint16_t)host;
    version->older = master->newest;
    if (master->newest) version_at(master, master->newest)->newer = ref;
    master->newest = ref;
}

bool dsm_version_concerns(const struct dsm_master *master, const struct dsm_version *version,
                          uint32_t host, uint64_t told) {
    if (version->last_host != host) return version->last > told;
    return DSM_RULE_ON(master, DSM_RULE_OTHER_HOST) && version->other > told;
}

/* ---- telling ----------------------------------------------------------------------------- */

/* A list of runs (page, count, home, epoch) being written into a message. */
struct list {
    uint32_t message, n_at, n, pages;
    uint64_t first;
    uint32_t count, home, epoch;
};

static void put_run(struct dsm_master *master, struct list *list) {
    if (!list->count) return;
    dsm_put64(master->out, list->first);
    dsm_put16(master->out, list->count);
    dsm_put16(master->out, list->home);
    dsm_put32(master->out, list->epoch);
    list->n++;
    list->count = 0;
}

static void end_list(struct dsm_master *master, struct list *list) {
    put_run(master, list);
    dsm_patch16(master->out, list->n_at, list->n);
    dsm_sent(master->out, list->message, 0);
}

/* Pages come in falling order from the recency list and in rising order from a region. */
static void add_page(struct dsm_master *master, struct list *list,
                     const struct dsm_version *version) {
    uint64_t id = page_id(master, version);
    bool alike = list->count && list->home == version->home && list->epoch == version->epoch;
    list->pages++;
    if (alike && id + 1 == list->first) {
        list->first = id;
        list->count++;
    } else if (alike && id == list->first + list->count) {
        list->count++;
    } else {
        put_run(master, list);
        *list = (struct list){list->message, list->n_at,    list->n, list->pages, id, 1,
                              version->home, version->epoch};
    }
}

static struct list begin_notices(struct dsm_master *master, uint32_t to, uint64_t upto) {
    struct list list = {.message = dsm_send(master->out, to, DSM_FAST, DSM_MSG_NOTICES)};
    dsm_put64(master->out, upto);
    list.n_at = master->out->nbytes;
    dsm_put16(master->out, 0);
    return list;
}

/* What changed since the host was told; with a lock, in what is bound to it. */
static bool is_news(const struct dsm_master *master, const struct dsm_version *version,
                    uint32_t host, const struct dsm_object *lock) {
    if (lock && !dsm_entry_concerns(master, version, lock)) return false;
    return dsm_version_concerns(master, version, host, dsm_entry_told(master, version, host));
}

static void tell_writers(struct dsm_master *master, uint32_t host) {
    struct dsm_told told = {0};
    for (dsm_ref at = master->newest; at; at = version_at(master, at)->older) {
        const struct dsm_version *version = version_at(master, at);
        if (version->last <= master->told[host]) break;
        if (is_news(master, version, host, NULL) && dsm_mhomeless_kept(master, version))
            dsm_mhomeless_tell(master, &told, host, page_id(master, version), version,
                               master->told[host]);
    }
    dsm_mhomeless_end(master, &told);
}

static void tell_updates(struct dsm_master *master, uint32_t host, const struct dsm_object *lock) {
    struct dsm_updates updates = {0};
    for (dsm_ref at = master->newest; at; at = version_at(master, at)->older) {
        const struct dsm_version *version = version_at(master, at);
        if (version->last <= master->told[host]) break;
        if (is_news(master, version, host, lock) && dsm_mbound_serves(master, version, host))
            dsm_mbound_tell(master, &updates, host, page_id(master, version), version);
    }
    dsm_mbound_end(master, &updates);
}

static void tell(struct dsm_master *master, uint32_t host, const struct dsm_object *lock) {
    struct list list = {0};
    bool carried = false, kept = false;
    for (dsm_ref at = master->newest; at; at = version_at(master, at)->older) {
        const struct dsm_version *version = version_at(master, at);
        if (version->last <= master->told[host]) break;
        if (!is_news(master, version, host, lock)) continue;
        if (dsm_mhomeless_kept(master, version)) {
            kept = true;
            continue;
        }
        if (dsm_mbound_serves(master, version, host)) {
            carried = true;
            continue;
        }
        if (list.pages == DSM_BATCH) {
            end_list(master, &list);
            list = (struct list){0};
        }
        if (!list.pages) list = begin_notices(master, host, 0);
        add_page(master, &list, version);
    }
    if (list.pages) end_list(master, &list);
    if (carried) tell_updates(master, host, lock);
    if (kept) tell_writers(master, host);
}

void dsm_tell(struct dsm_master *master, uint32_t host) {
    if (master->told[host] == master->log) return;
    tell(master, host, NULL);
    struct list list = begin_notices(master, host, master->log);
    end_list(master, &list);
    master->told[host] = master->log;
}

static void tell_scope(struct dsm_master *master, uint32_t host, struct dsm_object *lock) {
    struct list list = {0};
    dsm_ref at = 0;
    for (const struct dsm_version *page; (page = dsm_scope_next(master, lock, host, &at));) {
        if (list.pages == DSM_BATCH) {
            end_list(master, &list);
            list = (struct list){0};
        }
        if (!list.pages) list = begin_notices(master, host, 0);
        add_page(master, &list, page);
    }
    if (list.pages) end_list(master, &list);
}

void dsm_tell_grant(struct dsm_master *master, uint32_t host, struct dsm_object *lock) {
    uint32_t model = master->config.model;
    bool some = model == DSM_EC || (model == DSM_SCC && !dsm_scope_is_all(master, lock, host));
    if (!some) {
        dsm_tell(master, host);
        return;
    }
    if (model == DSM_EC)
        tell(master, host, lock);
    else
        tell_scope(master, host, lock);
    dsm_entry_granted(master, lock, host);
    if (model == DSM_SCC) dsm_scope_prune(master, lock);
}

/* ---- notices and claims from hosts ------------------------------------------------------- */

static bool runs_sound(const struct dsm_master *master, struct dsm_cursor cursor, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        uint32_t count = dsm_get16(&cursor) & ~(uint32_t)DSM_MOVED_ONLY;
        uint32_t home = dsm_get16(&cursor);
        dsm_get32(&cursor);
        const struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        if (region && (uint64_t)(uint32_t)id + count > region->pages) return false;
        if (home >= DSM_MAX_HOSTS) return false;
    }
    return dsm_cursor_done(&cursor);
}

/* Where it is now, if the host knows better; a page that is not settled is not announced. */
static bool settle(const struct dsm_master *master, struct dsm_version *version, uint32_t from,
                   uint32_t home, uint32_t epoch) {
    if (version->home == DSM_NO_HOST && !DSM_RULE_ON(master, DSM_RULE_CLAIM))
        version->home = (uint16_t)from;
    if (epoch > version->epoch) {
        version->home = (uint16_t)home;
        version->epoch = epoch;
    }
    return version->home != DSM_NO_HOST;
}

void dsm_version_published(struct dsm_master *master, uint32_t host) {
    if (DSM_RULE_ON(master, DSM_RULE_TWO_NUMBERS))
        dsm_tell(master, host);
    else
        master->told[host] = master->log;
    uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_PUBLISHED);
    dsm_put64(master->out, master->log);
    dsm_sent(master->out, message, 0);
}

static void published(struct dsm_master *master, uint32_t host, uint32_t last) {
    master->intervals[host]++;
    if (master->config.model == DSM_ERC && last == 1)
        dsm_eager_publish(master, host);
    else
        dsm_version_published(master, host);
}

int dsm_mpublish_on_notice(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t last = dsm_get8(cursor), n = dsm_get16(cursor);
    if (!runs_sound(master, *cursor, n)) return DSM_E_PEER;
    master->log++;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        uint32_t count = dsm_get16(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        bool changed = !(count & DSM_MOVED_ONLY);
        struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        if (!region) continue; /* unlinked and left by all: nobody can read it */
        count &= ~(uint32_t)DSM_MOVED_ONLY;
        for (uint32_t k = 0; k < count; k++) {
            struct dsm_version *version = version_of(master, region, (uint32_t)id + k);
            if (!settle(master, version, from, home, epoch) || !changed) continue;
            dsm_mbound_drop(master, version);
            notice(master, version, from);
            if (region->policy == DSM_HOME_HOMELESS) dsm_mhomeless_note(master, version, from);
            dsm_scope_wrote(master, version, from);
        }
    }
    if (last) published(master, from, last);
    return DSM_OK;
}

enum { CHANGE = 18 }; /* bytes of one */

struct change {
    uint64_t id;
    uint32_t home, epoch, len, reader;
};

static struct change next_change(struct dsm_cursor *cursor) {
    struct change change = {.id = dsm_get64(cursor)};
    change.home = dsm_get16(cursor);
    change.epoch = dsm_get32(cursor);
    change.len = dsm_get16(cursor);
    change.reader = dsm_get16(cursor);
    return change;
}

static bool changes_sound(const struct dsm_master *master, struct dsm_cursor cursor, uint32_t n) {
    if (n > DSM_SLICE || (uint64_t)(cursor.end - cursor.at) < (uint64_t)n * CHANGE) return false;
    const uint8_t *bytes = cursor.at + (size_t)n * CHANGE;
    for (uint32_t i = 0; i < n; i++) {
        struct change change = next_change(&cursor);
        const struct dsm_mregion *region = dsm_mregion_find(master, change.id >> 32);
        if (region && (uint32_t)change.id >= region->pages) return false;
        if (region && region->policy == DSM_HOME_HOMELESS) return false;
        if (change.home >= DSM_MAX_HOSTS || change.len > cursor.end - bytes) return false;
        if (!dsm_diff_sound(bytes, change.len, master->config.page_size)) return false;
        bytes += change.len;
    }
    return bytes == cursor.end;
}

int dsm_mpublish_on_changes(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t last = dsm_get8(cursor), n = dsm_get16(cursor);
    if (cursor->bad || !changes_sound(master, *cursor, n)) return DSM_E_PEER;
    const uint8_t *bytes = cursor->at + (size_t)n * CHANGE;
    master->log++;
    for (uint32_t i = 0; i < n; i++) {
        struct change change = next_change(cursor);
        struct dsm_mregion *region = dsm_mregion_find(master, change.id >> 32);
        if (region) {
            struct dsm_version *version = version_of(master, region, (uint32_t)change.id);
            if (settle(master, version, from, change.home, change.epoch)) {
                dsm_mbound_add(master, version, from, bytes, change.len);
                dsm_mbound_for(master, version, change.reader);
                notice(master, version, from);
                dsm_scope_wrote(master, version, from);
            }
        }
        bytes += change.len;
    }
    if (last) published(master, from, last);
    return DSM_OK;
}

int dsm_mpublish_on_claim(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_SLICE || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 8)
        return DSM_E_PEER;
    struct dsm_cursor check = *cursor;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&check);
        const struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        if (region && (uint32_t)id >= region->pages) return DSM_E_PEER;
    }
    uint32_t message = dsm_send(master->out, from, DSM_FAST, DSM_MSG_CLAIMED);
    dsm_put16(master->out, n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        struct dsm_mregion *region = dsm_mregion_find(master, id >> 32);
        uint32_t home = from, epoch = 0;
        if (region) {
            struct dsm_version *version = version_of(master, region, (uint32_t)id);
            if (version->home == DSM_NO_HOST) version->home = (uint16_t)from;
            home = version->home;
            epoch = version->epoch;
        }
        dsm_put64(master->out, id);
        dsm_put16(master->out, home);
        dsm_put32(master->out, epoch);
    }
    dsm_sent(master->out, message, 0);
    return DSM_OK;
}

/* ---- regions ----------------------------------------------------------------------------- */

enum { LIST_PAGES = 4096 }; /* most pages in one part of a region's list */

static struct list begin_region(struct dsm_master *master, uint32_t to,
                                const struct dsm_mregion *region) {
    struct list list = {.message = dsm_send(master->out, to, DSM_FAST, DSM_MSG_REGION)};
    dsm_put32(master->out, region->id);
    dsm_put8(master->out, DSM_ST_OK);
    dsm_put32(master->out, region->pages);
    dsm_put8(master->out, region->policy);
    dsm_put16(master->out, region->hosts);
    dsm_put8(master->out, 0); /* last: set in the last part */
    list.n_at = master->out->nbytes;
    dsm_put16(master->out, 0);
    return list;
}

static void send_writers(struct dsm_master *master, uint32_t to, const struct dsm_mregion *region) {
    struct dsm_told told = {0};
    for (uint32_t index = 0; index < region->pages; index++) {
        if (!chunk_of(master, region, index)) {
            index |= DSM_VERSIONS - 1;
            continue;
        }
        uint64_t id = (uint64_t)region->id << 32 | index;
        const struct dsm_version *version = dsm_version_find(master, id);
        if (version->last) dsm_mhomeless_tell(master, &told, to, id, version, 0);
    }
    dsm_mhomeless_end(master, &told);
}

void dsm_version_send_list(struct dsm_master *master, uint32_t to, struct dsm_mregion *region,
                           bool with_pages, bool asked) {
    struct list list = begin_region(master, to, region);
    for (uint32_t index = 0; with_pages && index < region->pages; index++) {
        if (!chunk_of(master, region, index)) {
            index |= DSM_VERSIONS - 1;
            continue;
        }
        const struct dsm_version *version = version_of(master, region, index);
        if (!version->last && !version->epoch) continue;
        if (list.pages == LIST_PAGES) {
            end_list(master, &list);
            list = begin_region(master, to, region);
        }
        add_page(master, &list, version);
    }
    if (with_pages && region->policy == DSM_HOME_HOMELESS) { /* before the attach ends */
        end_list(master, &list);
        send_writers(master, to, region);
        list = begin_region(master, to, region);
    }
    master->out->bytes[list.n_at - 1] = asked ? 1 : 2;
    end_list(master, &list);
}

void dsm_version_forget(struct dsm_master *master, struct dsm_mregion *region) {
    dsm_scope_forget(master, region);
    for (uint32_t i = 0; i < region->nchunks; i++) {
        dsm_ref chunk = ((dsm_ref *)dsm_at(master, region->chunks))[i];
        if (!chunk) continue;
        struct dsm_version *versions = dsm_at(master, chunk);
        for (uint32_t k = 0; k < DSM_VERSIONS; k++) {
            unlink_version(master, &versions[k]);
            dsm_mbound_drop(master, &versions[k]);
            dsm_mhomeless_forget(master, &versions[k]);
        }
        dsm_arena_give(&master->arena, chunk, DSM_VERSIONS * sizeof *versions);
    }
    dsm_arena_give(&master->arena, region->chunks, region->nchunks * sizeof(dsm_ref));
}
