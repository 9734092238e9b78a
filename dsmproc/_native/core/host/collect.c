/* Kept diffs are bounded: those of a host that keeps more than `config.keep` bytes are collected.
 *
 * For each page of which it keeps diffs it asks the base to bring its copy up to date, which the
 * base does as a reader does: it observes the stamp of the newest diff, asks the writers, and
 * applies. Then it says up to which interval it has the asker's diffs, and those are dropped. So
 * what a page costs is a copy at the base and, at each host, the diffs since the last collection.
 * Between two collections that is the bound and what one publish writes.
 *
 *   writer  kept > keep ──COLLECT(page, stamp)──► base observes, fetches ─COLLECTED(upto)─► dropped
 *
 * A host that leaves collects all that it keeps, and then makes others the base of the pages whose
 * base it is: they take in all that was announced, and are the base from then on (COLLECT, adopt).
 *
 * Invariants.
 *   COLLECTED: a diff is dropped after the base has said that it is in its copy, or when the base
 *      is lost, and nobody could take it
 *   STAMPED: the base has seen the stamp of the newest diff before it applies any, or it would
 *      apply one before another that happened earlier (TAGGED). It answers only for intervals that
 *      it was told of (more may be in what it took from the base before it): its successor hears
 *      of those
 *   a  a base that is being succeeded takes nothing more in: its successor would not have it
 */
#include "core/host/history.h"
#include "core/host/host.h"

enum { ALL = UINT32_MAX };

/* ---- the writer -------------------------------------------------------------------------- */

static void send_collect(struct dsm_host *host, struct dsm_history *history, uint32_t to,
                         bool adopt) {
    const struct dsm_page *page = dsm_page_there(host, history->page);
    uint64_t out = dsm_publish_out(host), stamp = host->clock > out ? host->clock : out;
    uint32_t message = dsm_send(host->out, to, DSM_BULK, DSM_MSG_COLLECT);
    dsm_put64(host->out, history->page);
    dsm_put64(host->out, stamp); /* with what it has collected */
    dsm_put32(host->out, page->epoch);
    dsm_put8(host->out, adopt);
    dsm_sent(host->out, message, 0);
    history->collector = (uint16_t)to;
    history->adopted = adopt;
    host->collecting++;
}

/* Only what the master has stamped can be asked for. */
static bool is_due(const struct dsm_host *host, const struct dsm_history *history) {
    if (!history->own.head || history->collector != DSM_NO_HOST) return false;
    const struct dsm_kept *oldest = dsm_at(host, history->own.head);
    return oldest->interval <= host->stamped;
}

static void collect(struct dsm_host *host, struct dsm_history *history) {
    struct dsm_page *page = dsm_page_there(host, history->page);
    bool lost = dsm_is_lost(host, page->home);
    if (page->home == host->config.host || (lost && page->flags & DSM_ORPHAN))
        dsm_history_drop(host, history, (uint32_t)host->stamped);
    else if (lost)
        dsm_page_seek(host, page);
    else
        send_collect(host, history, page->home, false);
    if (!DSM_RULE_ON(host, DSM_RULE_COLLECTED))
        dsm_history_drop(host, history, (uint32_t)host->stamped);
}

/* In rounds, one after the other: each asks about DSM_SLICE pages at most. */
static void shed(struct dsm_host *host) {
    uint64_t bound = host->leave.state == DSM_STAYS ? host->config.keep : 0;
    if (host->kept > bound) host->shedding = 1;
    if (host->kept <= bound / 2) host->shedding = 0;
    if (!host->shedding || host->collecting || host->shed == host->stamped + 1) return;
    host->shed = host->stamped + 1;
    for (uint32_t i = 0; i < host->histories.room && host->collecting < DSM_SLICE; i++) {
        dsm_ref ref = dsm_map_slot(&host->arena, &host->histories, i);
        if (ref && is_due(host, dsm_at(host, ref))) collect(host, dsm_at(host, ref));
    }
}

void dsm_collect_adopt(struct dsm_host *host, struct dsm_page *page, uint32_t heir) {
    send_collect(host, dsm_history_make(host, dsm_page_id(host, page)), heir, true);
}

int dsm_collect_on_collected(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t upto = dsm_get32(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
    if (!dsm_cursor_done(cursor) || home >= DSM_MAX_HOSTS) return DSM_E_PEER;
    struct dsm_page *page = dsm_page_there(host, id);
    struct dsm_history *history = page ? dsm_history_of(host, id) : NULL;
    if (!history || history->collector != from) return DSM_OK;
    bool succeeded = history->adopted && home == from && epoch == page->epoch + 1;
    dsm_history_collected(host, history);
    if (epoch > page->epoch && home != host->config.host) {
        page->home = (uint16_t)home;
        page->epoch = epoch;
    }
    if (succeeded) dsm_page_owe(host, page, false);
    if (upto > host->stamped) upto = (uint32_t)host->stamped;
    dsm_history_drop(host, history, upto);
    if (page->waiters || dsm_history_is_wanted(host, id)) dsm_homeless_fetch(host, page);
    return DSM_OK;
}

/* ---- the base ---------------------------------------------------------------------------- */

static void answer(struct dsm_host *host, const struct dsm_collector *collector, uint32_t upto,
                   uint32_t home, uint32_t epoch) {
    uint32_t message = dsm_send(host->out, collector->host, DSM_BULK, DSM_MSG_COLLECTED);
    dsm_put64(host->out, collector->page);
    dsm_put32(host->out, upto);
    dsm_put16(host->out, home == DSM_NO_HOST ? collector->host : home);
    dsm_put32(host->out, epoch);
    dsm_sent(host->out, message, 0);
}

/* May what it asks for be done here? A base that is being succeeded does not (a). */
static bool is_willing(const struct dsm_host *host, const struct dsm_collector *collector,
                       const struct dsm_page *page) {
    const struct dsm_history *history = dsm_history_of(host, collector->page);
    if (collector->adopt)
        return host->leave.state == DSM_STAYS && page->home == collector->host &&
               page->epoch == collector->epoch;
    bool claimed = page->home == DSM_NO_HOST && page->flags & DSM_CLAIMED;
    return (page->home == host->config.host || claimed) && !(history && history->adopted);
}

static void be_base(struct dsm_host *host, struct dsm_page *page) {
    page->home = (uint16_t)host->config.host;
    page->epoch++;
    dsm_leave_found(host);
}

/* One that asks; true: it is answered. */
static bool serve(struct dsm_host *host, const struct dsm_collector *collector) {
    struct dsm_page *page = dsm_page_there(host, collector->page);
    if (!page) return true;
    if (collector->adopt && collector->epoch > page->epoch && page->home != DSM_NO_HOST) {
        page->home = collector->host;
        page->epoch = collector->epoch;
    }
    if (page->state == DSM_LOST) {
        if (collector->adopt && is_willing(host, collector, page)) be_base(host, page);
        answer(host, collector, ALL, page->home, page->epoch);
        return true;
    }
    if (!is_willing(host, collector, page)) {
        answer(host, collector, 0, page->home, page->epoch);
        return true;
    }
    if (!dsm_history_observed(host, collector)) return false;
    dsm_homeless_fetch(host, page);
    bool here = page->state == DSM_CLEAN || page->state == DSM_DIRTY;
    const struct dsm_history *history = dsm_history_of(host, collector->page);
    if (page->state == DSM_LOST) return serve(host, collector);
    if (!here || (history && dsm_history_behind(host, history))) return false;
    if (collector->adopt) be_base(host, page);
    answer(host, collector, dsm_history_told(host, collector->page, collector->host), page->home,
           page->epoch);
    return true;
}

int dsm_collect_on_collect(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor), stamp = dsm_get64(cursor);
    uint32_t epoch = dsm_get32(cursor), adopt = dsm_get8(cursor);
    if (!dsm_cursor_done(cursor) || adopt > 1) return DSM_E_PEER;
    const struct dsm_region *region = dsm_region_find(host, id >> 32);
    bool known = region && region->state == DSM_REGION_READY;
    if (known && ((uint32_t)id >= region->pages || region->policy != DSM_HOME_HOMELESS))
        return DSM_E_PEER;
    uint64_t room = dsm_page_room(host, id, 1) + dsm_history_room(host, 1);
    if (!dsm_arena_room(&host->arena, room)) return DSM_E_MEMORY;
    struct dsm_collector collector = {
        .host = (uint16_t)from, .adopt = (uint8_t)adopt, .epoch = epoch};
    collector.page = id;
    collector.stamp = stamp;
    collector.observe = host->observe_sent + 1;
    if (!known) {
        if (adopt && host->leave.state == DSM_STAYS) dsm_region_want(host, id >> 32);
        answer(host, &collector, 0, from, epoch); /* and it is asked again */
        return DSM_OK;
    }
    (void)dsm_page_find(host, id);
    dsm_ref ref = dsm_arena_take(&host->arena, sizeof collector);
    *(struct dsm_collector *)dsm_at(host, ref) = collector;
    dsm_queue_push(host, &host->collectors, ref);
    dsm_observe_up_to(host, stamp); /* STAMPED */
    return DSM_OK;
}

void dsm_collect_host_lost(struct dsm_host *host, uint32_t who) {
    for (dsm_ref at = host->collectors.head, next; at; at = next) {
        const struct dsm_collector *collector = dsm_at(host, at);
        next = collector->next;
        if (collector->host != who) continue;
        dsm_queue_remove(host, &host->collectors, at);
        dsm_arena_give(&host->arena, at, sizeof *collector);
    }
}

void dsm_collect_go_on(struct dsm_host *host) {
    if (host->ncompared) return;
    for (dsm_ref at = host->collectors.head, next; at; at = next) {
        next = dsm_next(host, at);
        if (!serve(host, dsm_at(host, at))) continue;
        dsm_queue_remove(host, &host->collectors, at);
        dsm_arena_give(&host->arena, at, sizeof(struct dsm_collector));
    }
    shed(host);
}
