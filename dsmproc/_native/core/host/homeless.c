/* Pages without home (TreadMarks): writers keep their diffs, and who reads asks the writers.
 *
 * Definitions. An *interval* is what one publish of a host announces; a host numbers its own. A
 * publish makes a diff of each page that it announces and *keeps* it: nothing is sent. The notice
 * that others get names the page's *writers*, for each the newest interval (master/homeless.c). A
 * copy that lacks a diff is *stale*: out of every process's reach, its content stays. The *tag* of
 * a diff is how far its host had been told of the master's log when it was made. The *base* is the
 * host that the page's record names as its home: it always has a copy, which may be stale.
 *
 *   ZERO ──write──► DIRTY ──publish: diff kept──► CLEAN ──write──► DIRTY
 *    │notice          │notice: diff kept            │notice
 *    ▼                ▼                             ▼
 *   ABSENT ─fault: WANT_BASE─► BASE ──► STALE ──fault: WANT─► DIFFS of each writer ──► CLEAN
 *
 * Invariants.
 *   TAGGED: the content of a copy is that of the base when it was taken, and the diffs of all
 *      intervals up to `have` of each source, and of its own; each was applied after all those
 *      that happened before it. For if one diff happened before another, the second one's host had
 *      been told of the first one's stamp, and no host is told more than the log is long before
 *      its publish is stamped, so the first one's tag is lower; and whoever hears of the second
 *      hears of the first with it
 *   a  a host asks for no interval that it was not told of: what it gets happened before nothing
 *      that it does not know
 *   b  a copy is used only while it is not stale, `have` = `need` of every source
 *   COLLECTED: a diff is kept until the base has applied it and said so (collect.c); who asks
 *      later is told to take the base
 *   MINE, OUTRUN: who takes the base puts its own diffs back that are not in it, and uses
 *      none that lacks diffs which it has dropped, before it came or since
 *   c  what only a host that died had is lost, and so is the page for whoever needs it
 */
#include "core/host/history.h"
#include "core/host/host.h"

enum { ALL = UINT32_MAX };

/* ---- histories --------------------------------------------------------------------------- */

void dsm_homeless_forget(struct dsm_host *host, uint64_t page) {
    dsm_ref ref = dsm_map_drop(&host->arena, &host->histories, page);
    if (!ref) return;
    struct dsm_history *history = dsm_at(host, ref);
    dsm_history_drop(host, history, ALL);
    for (dsm_ref at; (at = dsm_queue_pop(host, &history->came));)
        dsm_history_free(host, at);
    for (dsm_ref at = history->sources, next; at; at = next) {
        next = dsm_next(host, at);
        dsm_arena_give(&host->arena, at, sizeof(struct dsm_source));
    }
    if (history->collector != DSM_NO_HOST) host->collecting--;
    dsm_arena_give(&host->arena, ref, sizeof *history);
}

/* ---- being told -------------------------------------------------------------------------- */

/* Something is missing now: nobody here may read on (b). */
static void grow_stale(struct dsm_host *host, struct dsm_page *page) {
    dsm_count(host, DSM_COUNT_INVALIDATIONS, 1);
    if (page->state == DSM_ZERO) {
        dsm_page_act(host, DSM_ACT_PUNCH, page);
        page->state = DSM_ABSENT;
    } else if (page->state == DSM_CLEAN) {
        dsm_page_close(host, page);
    } else if (page->state == DSM_DIRTY) {
        dsm_page_compare(host, page, true, false);
    }
}

struct written {
    uint64_t page;
    uint32_t home, epoch, n;
};

static struct written next_written(struct dsm_cursor *cursor) {
    struct written written = {.page = dsm_get64(cursor)};
    written.home = dsm_get16(cursor);
    written.epoch = dsm_get32(cursor);
    written.n = dsm_get16(cursor);
    return written;
}

static int judge(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n) {
    uint64_t room = dsm_history_room(host, n);
    for (uint32_t i = 0; i < n && !cursor.bad; i++) {
        struct written written = next_written(&cursor);
        if (written.n > DSM_MAX_HOSTS) return DSM_E_PEER;
        if (!dsm_page_home_is_possible(host, written.page, written.home, written.epoch))
            return DSM_E_PEER;
        for (uint32_t k = 0; k < written.n; k++) {
            if (dsm_get16(&cursor) >= DSM_MAX_HOSTS) return DSM_E_PEER;
            dsm_get32(&cursor);
        }
        const struct dsm_region *region = dsm_region_find(host, written.page >> 32);
        if (!region || region->state != DSM_REGION_READY) continue;
        if (region->policy != DSM_HOME_HOMELESS) return DSM_E_PEER;
        room += dsm_page_room(host, written.page, 1) + written.n * 2 * sizeof(struct dsm_source);
    }
    if (!dsm_cursor_done(&cursor)) return DSM_E_PEER;
    return dsm_arena_room(&host->arena, room) ? DSM_OK : DSM_E_MEMORY;
}

int dsm_homeless_on_writers(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint64_t log = dsm_get64(cursor);
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_BATCH) return DSM_E_PEER;
    int status = judge(host, *cursor, n);
    if (status == DSM_OK && log > host->clock) host->clock = log;
    for (uint32_t i = 0; status == DSM_OK && i < n; i++) {
        struct written written = next_written(cursor);
        dsm_page_learn_home(host, written.page, written.home, written.epoch);
        struct dsm_page *page = dsm_page_there(host, written.page);
        struct dsm_history *history = page ? dsm_history_make(host, written.page) : NULL;
        dsm_count(host, DSM_COUNT_NOTICES_RECEIVED, 1);
        for (uint32_t k = 0; k < written.n; k++) {
            uint32_t who = dsm_get16(cursor), interval = dsm_get32(cursor);
            if (!page || who == host->config.host) continue;
            struct dsm_source *source = dsm_history_make_source(host, history, who);
            if (interval > source->need) source->need = interval;
        }
        if (page && dsm_history_behind(host, history)) grow_stale(host, page);
    }
    return status;
}

/* ---- asking ------------------------------------------------------------------------------ */

static void ask_writer(struct dsm_host *host, struct dsm_history *history,
                       struct dsm_source *source) {
    uint32_t message = dsm_send(host->out, source->host, DSM_FAST, DSM_MSG_WANT);
    dsm_put64(host->out, history->page);
    dsm_put32(host->out, source->got);
    dsm_put32(host->out, source->need);
    dsm_sent(host->out, message, 0);
    source->asked = 1;
    history->asked++;
}

static void ask_base(struct dsm_host *host, struct dsm_page *page, struct dsm_history *history) {
    if (history->adopted) return; /* it was the base here: who is it now? */
    if (page->home == host->config.host || page->flags & DSM_ORPHAN) {
        dsm_serve_poison(host, page); /* c */
    } else if (dsm_is_lost(host, page->home)) {
        dsm_page_seek(host, page);
    } else {
        uint32_t message = dsm_send(host->out, page->home, DSM_FAST, DSM_MSG_WANT_BASE);
        dsm_put64(host->out, history->page);
        dsm_sent(host->out, message, 0);
        history->base = page->home;
        history->outdated = 0;
        history->asked++;
    }
}

/* The copy lacks own diffs that are not kept here any more: COLLECTED has overtaken the base that
 * was taken, or came before they were put back on it. Asked again, the base has them. */
static bool is_outrun(const struct dsm_host *host, const struct dsm_history *history) {
    return history->mine < history->collected && DSM_RULE_ON(host, DSM_RULE_OUTRUN);
}

/* Ask for what is missing: all that can be asked for at once. */
static void ask(struct dsm_host *host, struct dsm_page *page, struct dsm_history *history) {
    if (page->state == DSM_ABSENT || is_outrun(host, history)) history->wants_base = 1;
    for (dsm_ref at = history->sources; at; at = dsm_next(host, at)) {
        const struct dsm_source *source = dsm_at(host, at);
        if (page->state == DSM_ABSENT) break; /* what is missing is not known yet */
        if (source->got >= source->need || !dsm_is_lost(host, source->host)) continue;
        if (history->fresh) { /* and the base has it not */
            dsm_serve_poison(host, page);
            return;
        }
        history->wants_base = 1;
    }
    if (history->wants_base) {
        ask_base(host, page, history);
        return;
    }
    for (dsm_ref at = history->sources; at; at = dsm_next(host, at)) {
        struct dsm_source *source = dsm_at(host, at);
        if (source->got < source->need) ask_writer(host, history, source);
    }
}

/* ---- applying ---------------------------------------------------------------------------- */

static bool goes_before(const struct dsm_kept *a, const struct dsm_kept *b) {
    if (a->tag != b->tag) return a->tag < b->tag;
    return a->host != b->host ? a->host < b->host : a->interval < b->interval;
}

static void apply(struct dsm_host *host, const struct dsm_page *page, const struct dsm_kept *kept) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_APPLY_KEPT);
    action->id = dsm_page_id(host, page);
    action->off = host->out->nbytes;
    action->len = kept->len;
    dsm_history_put(host, kept);
}

/* The own diffs that a base lacked (rule MINE) stay kept; the others' are not needed any more. */
static void apply_all(struct dsm_host *host, const struct dsm_page *page,
                      struct dsm_history *history) {
    dsm_ref own = history->own.head;
    for (;;) {
        while (own && ((const struct dsm_kept *)dsm_at(host, own))->interval <= history->mine)
            own = dsm_next(host, own);
        const struct dsm_kept *first = own ? dsm_at(host, own) : NULL;
        dsm_ref came = history->came.head;
        if (!own && !came) return;
        if (came && (!own || goes_before(dsm_at(host, came), first))) {
            apply(host, page, dsm_at(host, came));
            dsm_history_free(host, dsm_queue_pop(host, &history->came));
        } else {
            if (DSM_RULE_ON(host, DSM_RULE_MINE)) apply(host, page, first);
            own = dsm_next(host, own);
        }
    }
}

void dsm_homeless_fetch(struct dsm_host *host, struct dsm_page *page) {
    if (page->state != DSM_STALE && page->state != DSM_ABSENT) return;
    struct dsm_history *history = dsm_history_make(host, dsm_page_id(host, page));
    if (history->asked || page->flags & DSM_SEEKING) return;
    ask(host, page, history);
    bool waits = history->asked || history->wants_base || page->flags & DSM_SEEKING;
    if (waits || page->state != DSM_STALE) return;
    apply_all(host, page, history);
    for (dsm_ref at = history->sources; at; at = dsm_next(host, at)) {
        struct dsm_source *source = dsm_at(host, at);
        source->have = source->got;
    }
    history->mine = ALL;
    page->state = DSM_CLEAN;
    dsm_serve_waiters(host, page, 1);
}

/* Its answers are in: is it still wanted? */
static void answered(struct dsm_host *host, struct dsm_page *page, struct dsm_history *history) {
    history->asked--;
    if (page->waiters || dsm_history_is_wanted(host, history->page)) dsm_homeless_fetch(host, page);
}

bool dsm_homeless_asks(const struct dsm_host *host, const struct dsm_page *page) {
    const struct dsm_history *history = dsm_history_of(host, dsm_page_id(host, page));
    return page->flags & DSM_SEEKING || (history && (history->asked || history->adopted));
}

bool dsm_homeless_is_spare(const struct dsm_host *host, const struct dsm_page *page) {
    if (page->home == host->config.host || page->home == DSM_NO_HOST) return false;
    if (page->state != DSM_CLEAN && page->state != DSM_STALE) return false;
    return !dsm_is_lost(host, page->home) && !dsm_homeless_asks(host, page);
}

/* ---- answers ----------------------------------------------------------------------------- */

static void insert(struct dsm_host *host, struct dsm_history *history, dsm_ref ref) {
    struct dsm_kept *kept = dsm_at(host, ref);
    dsm_ref before = 0, at = history->came.head;
    while (at && !goes_before(kept, dsm_at(host, at))) {
        before = at;
        at = dsm_next(host, at);
    }
    kept->next = at;
    if (before)
        ((struct dsm_kept *)dsm_at(host, before))->next = ref;
    else
        history->came.head = ref;
    if (!at) history->came.tail = ref;
}

struct diff_head {
    uint32_t interval, len;
    uint64_t tag;
};

static struct diff_head next_diff(struct dsm_cursor *cursor) {
    struct diff_head head = {.interval = dsm_get32(cursor)};
    head.tag = dsm_get64(cursor);
    head.len = dsm_get32(cursor);
    return head;
}

/* n heads, then their diffs, and nothing else. */
static int judge_diffs(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n,
                       uint32_t after, uint32_t upto) {
    if ((uint64_t)(cursor.end - cursor.at) < (uint64_t)n * 16) return DSM_E_PEER;
    const uint8_t *bytes = cursor.at + (size_t)n * 16;
    uint64_t room = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct diff_head head = next_diff(&cursor);
        if (head.len > (uint64_t)(cursor.end - bytes) || head.interval <= after ||
            head.interval > upto || !dsm_diff_sound(bytes, head.len, host->config.page_size))
            return DSM_E_PEER;
        bytes += head.len;
        room += 2 * (sizeof(struct dsm_kept) + head.len);
    }
    if (bytes != cursor.end) return DSM_E_PEER;
    return dsm_arena_room(&host->arena, room) ? DSM_OK : DSM_E_MEMORY;
}

static void take_diffs(struct dsm_host *host, struct dsm_history *history, uint32_t from,
                       struct dsm_cursor cursor, uint32_t n) {
    const uint8_t *bytes = cursor.at + (size_t)n * 16;
    for (uint32_t i = 0; i < n; i++) {
        struct diff_head head = next_diff(&cursor);
        dsm_ref ref = dsm_arena_take(&host->arena, sizeof(struct dsm_kept) + head.len);
        struct dsm_kept *kept = dsm_at(host, ref);
        kept->host = (uint16_t)from;
        kept->interval = head.interval;
        kept->len = head.len;
        kept->tag = head.tag;
        for (uint32_t k = 0; k < head.len; k++)
            kept->bytes[k] = *bytes++;
        insert(host, history, ref);
    }
}

int dsm_homeless_on_diffs(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t after = dsm_get32(cursor), upto = dsm_get32(cursor), gone = dsm_get8(cursor);
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || gone > 1 || (gone && n)) return DSM_E_PEER;
    int status = judge_diffs(host, *cursor, n, after, upto);
    struct dsm_page *page = dsm_page_there(host, id);
    struct dsm_history *history = page ? dsm_history_of(host, id) : NULL;
    struct dsm_source *source = history ? dsm_history_source(host, history, from) : NULL;
    if (status != DSM_OK || !source || !source->asked) return status;
    if (upto > source->need || (!gone && upto == after)) return DSM_E_PEER;
    source->asked = 0;
    if (gone) {
        history->wants_base = 1;
    } else if (after == source->got) {
        take_diffs(host, history, from, *cursor, n);
        source->got = upto;
    }
    answered(host, page, history);
    return DSM_OK;
}

/* The base's content is here in place of ours, if there was one. */
static int take_base(struct dsm_host *host, struct dsm_page *page, struct dsm_history *history,
                     struct dsm_cursor *cursor, uint32_t n) {
    for (dsm_ref at; (at = dsm_queue_pop(host, &history->came));)
        dsm_history_free(host, at);
    for (dsm_ref at = history->sources; at; at = dsm_next(host, at)) {
        struct dsm_source *source = dsm_at(host, at);
        source->have = source->got = 0;
    }
    history->mine = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t who = dsm_get16(cursor), interval = dsm_get32(cursor);
        if (who == host->config.host) {
            history->mine = interval;
            continue;
        }
        struct dsm_source *source = dsm_history_make_source(host, history, who);
        source->have = source->got = interval;
    }
    bool fresh = page->state == DSM_ABSENT;
    struct dsm_action *action = dsm_act(host->out, fresh ? DSM_ACT_FILL : DSM_ACT_MERGE);
    action->id = history->page;
    action->count = 1;
    action->off = (uint32_t)(cursor->at - host->event->bytes);
    page->state = DSM_STALE;
    history->wants_base = 0;
    history->fresh = !history->outdated;
    dsm_count(host, DSM_COUNT_PAGES_FETCHED, 1);
    return DSM_OK;
}

static int judge_base(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t how,
                      uint32_t home, uint32_t n) {
    uint64_t bytes = how == DSM_BASE_HERE ? (uint64_t)n * 6 + host->config.page_size : 0;
    if (cursor.bad || how > DSM_BASE_LOST || home >= DSM_MAX_HOSTS || n > DSM_MAX_HOSTS + 1)
        return DSM_E_PEER;
    if ((uint64_t)(cursor.end - cursor.at) != bytes) return DSM_E_PEER;
    for (uint32_t i = 0; how == DSM_BASE_HERE && i < n; i++) {
        if (dsm_get16(&cursor) >= DSM_MAX_HOSTS) return DSM_E_PEER;
        dsm_get32(&cursor);
    }
    uint64_t room = (uint64_t)n * 2 * sizeof(struct dsm_source);
    return dsm_arena_room(&host->arena, room) ? DSM_OK : DSM_E_MEMORY;
}

int dsm_homeless_on_base(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t id = dsm_get64(cursor);
    uint32_t how = dsm_get8(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
    uint32_t n = dsm_get16(cursor);
    int status = judge_base(host, *cursor, how, home, n);
    struct dsm_page *page = dsm_page_there(host, id);
    struct dsm_history *history = page ? dsm_history_of(host, id) : NULL;
    if (status != DSM_OK || !history || history->base != from) return status;
    history->base = DSM_NO_HOST;
    if (how == DSM_BASE_ELSEWHERE && epoch > page->epoch && home != host->config.host) {
        page->home = (uint16_t)home;
        page->epoch = epoch;
    }
    if (how == DSM_BASE_HERE) take_base(host, page, history, cursor, n);
    if (how == DSM_BASE_LOST) {
        history->asked--;
        dsm_serve_poison(host, page);
        return DSM_OK;
    }
    answered(host, page, history);
    return DSM_OK;
}

/* ---- hosts go ---------------------------------------------------------------------------- */

/* What it was asked for it will not answer. */
static void lose(struct dsm_host *host, struct dsm_history *history, uint32_t who) {
    struct dsm_page *page = dsm_page_there(host, history->page);
    struct dsm_source *source = dsm_history_source(host, history, who);
    bool waited = false;
    history->fresh = 0;
    if (history->collector == who) {
        dsm_history_collected(host, history);
        waited = true;
    }
    if (source && source->asked) {
        source->asked = 0;
        history->asked--;
        waited = true;
    }
    if (history->base == who) {
        history->base = DSM_NO_HOST;
        history->asked--;
        waited = true;
    }
    history->outdated = 1; /* the base may have taken in what that one had, and then answers anew */
    bool wanted = page->waiters || dsm_history_is_wanted(host, history->page);
    if (waited && wanted) dsm_homeless_fetch(host, page);
}

void dsm_homeless_host_lost(struct dsm_host *host, uint32_t who) {
    for (uint32_t i = 0; i < host->histories.room; i++) {
        dsm_ref ref = dsm_map_slot(&host->arena, &host->histories, i);
        if (ref) lose(host, dsm_at(host, ref), who);
    }
}

/* A base that was gone is found, or not. */
void dsm_homeless_found(struct dsm_host *host, struct dsm_page *page) {
    host->shed = 0;
    if (page->waiters || dsm_history_is_wanted(host, dsm_page_id(host, page)))
        dsm_homeless_fetch(host, page);
}
