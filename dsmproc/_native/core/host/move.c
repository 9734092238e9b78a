/* How the home of a page moves. The old home decides, and each move raises the page's epoch by one.
 *
 * A writer takes it: TAKE goes to the home in place of the diff, which is kept. The home agrees if
 * it has not written the page itself and the writer's copy differs from it by that diff alone
 * (rule COUNTED): then nothing but TAKEN travels. Otherwise the diff is sent as ever.
 *
 *   writer  CLEAN, DIRTY | TAKING ──TAKEN(epoch)──► HOME_PRIVATE      ──TAKEN(0)──► DIFF is sent
 *   home    HOME ──TAKE, equal──► CLEAN
 *
 * A home hands it over: HAND carries the page. The other host may be unable to take it.
 *
 *   giver   HOME* ──HAND──► CLEAN | HANDING ──HANDED(1)──► CLEAN      ──HANDED(0, 2)──► HOME
 *   heir    any but UNACKED ──HAND──► HOME, HOME_DIRTY
 *
 * Invariants.
 *   a  a copy that is TAKING or HANDING may be the home's page: it is not invalidated meanwhile,
 *      and what must wait for invalidations waits (observe.c)
 *   b  while HANDING, nobody here writes the page: if it comes back, it is what it was
 *   APPLIED: a host that gives a page away of which it owes a notice of a change says so when it
 *      is asked which copy is the newest (recover.c)
 *   FETCHED: the giver protects the page in all local processes before its bytes are copied
 *   LENT (home.c): TAKEN says that the page is unchanged: it is HOME, so what it holds was
 *      announced or is owed, and the writer's copy had it. HAND carries bytes as they are: a
 *      written page is owed, whatever it will be at the publish. Who moves in owes the page in any
 *      case
 */
#include "core/host/history.h"
#include "core/host/host.h"

enum { PATIENCE_MAX = 8, OF_USE = 2 };

/* ---- taking ------------------------------------------------------------------------------ */

static bool may_go(const struct dsm_host *host, const struct dsm_page *page, uint32_t changes) {
    if (!page || page->state != DSM_HOME) return false;
    return page->changes == changes || !DSM_RULE_ON(host, DSM_RULE_COUNTED);
}

/* Was it of use here? If it moves on at once, a longer streak is asked for before it comes
 * again. */
static void remember(struct dsm_page *page) {
    if (page->epoch && page->streak < OF_USE) {
        if (page->patience < PATIENCE_MAX) page->patience++;
    } else if (page->patience) {
        page->patience--;
    }
    page->streak = 0;
}

static void give(struct dsm_host *host, struct dsm_page *page, uint32_t to) {
    remember(page);
    dsm_page_came(host, page);
    page->state = DSM_CLEAN;
    page->get = 0; /* whom it fed */
    if (page->flags & DSM_CHANGED) page->flags |= DSM_APPLIED;
    page->flags &= (uint16_t)~DSM_HELD;
    page->home = (uint16_t)to;
    page->epoch++;
}

int dsm_move_on_take(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > 2 * DSM_BATCH ||
        (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 12)
        return DSM_E_PEER;
    uint32_t message = dsm_send(host->out, from, DSM_BULK, DSM_MSG_TAKEN);
    dsm_put16(host->out, n);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        uint32_t changes = dsm_get32(cursor);
        struct dsm_page *page = dsm_page_there(host, id);
        bool goes = may_go(host, page, changes);
        if (goes) give(host, page, from);
        dsm_put64(host->out, id);
        dsm_put32(host->out, goes ? page->epoch : 0);
    }
    dsm_sent(host->out, message, 0);
    return DSM_OK;
}

/* Copies given out before are older than the notice that the publish owes: none is held (8). */
static void move_in(struct dsm_host *host, struct dsm_page *page, uint32_t epoch) {
    dsm_page_revalidate(host, page); /* of an older change, which the home's page had */
    page->carried = 0;
    if (page->state == DSM_DIRTY) dsm_page_act(host, DSM_ACT_UNTWIN, page);
    dsm_written_rests(host, page);
    page->home = (uint16_t)host->config.host;
    page->epoch = epoch;
    page->changes++;
    page->streak = 0;
    dsm_page_owe(host, page, true);
    dsm_count(host, DSM_COUNT_HOME_MIGRATIONS, 1);
    if (page->flags & DSM_UNACKED) dsm_flush_acked(host, page);
    dsm_leave_found(host);
}

static void taken(struct dsm_host *host, struct dsm_page *page, uint32_t epoch) {
    page->flags &= (uint16_t)~DSM_TAKING;
    if (epoch) {
        move_in(host, page, epoch);
        return;
    }
    page->changes = 0;
    dsm_page_send_kept(host, page);
    if (dsm_page_revalidate(host, page)) dsm_page_invalidate(host, page);
}

int dsm_move_on_taken(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > 2 * DSM_BATCH ||
        (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 12)
        return DSM_E_PEER;
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_page *page = dsm_page_there(host, dsm_get64(cursor));
        uint32_t epoch = dsm_get32(cursor);
        if (page && page->flags & DSM_TAKING && page->home == from) taken(host, page, epoch);
    }
    return DSM_OK;
}

/* ---- handing over ------------------------------------------------------------------------ */

static void hand(struct dsm_host *host, struct dsm_page *page, uint32_t to) {
    dsm_page_settle_in(host, page);
    if (page->state != DSM_HOME) dsm_page_act(host, DSM_ACT_PROTECT, page); /* FETCHED */
    if (page->state == DSM_HOME_DIRTY) {
        if (page->run & (DSM_OPENED | DSM_HOME_TWIN)) dsm_page_act(host, DSM_ACT_UNTWIN, page);
        page->changes++;
        dsm_page_owe(host, page, true);
    }
    page->run &= DSM_BOUND;
    give(host, page, to);
    page->flags |= DSM_HANDING;
    host->handing++;
}

/* Those without home get another base instead (collect.c); the others stay in `pages`. */
static uint32_t give_bases(struct dsm_host *host, uint64_t *pages, uint32_t n, uint32_t to) {
    uint32_t homes = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_page *page = dsm_page_there(host, pages[i]);
        if (!dsm_page_is_homeless(host, page))
            pages[homes++] = pages[i];
        else if (dsm_history_is_base(host, page))
            dsm_collect_adopt(host, page, to);
    }
    return homes;
}

void dsm_move_pages(struct dsm_host *host, uint64_t *pages, uint32_t n, uint32_t to) {
    n = give_bases(host, pages, n, to);
    if (!n) return;
    for (uint32_t i = 0; i < n; i++)
        hand(host, dsm_page_find(host, pages[i]), to);
    uint32_t message = dsm_send(host->out, to, DSM_BULK, DSM_MSG_HAND);
    dsm_put16(host->out, n);
    for (uint32_t i = 0; i < n; i++) {
        const struct dsm_page *page = dsm_page_there(host, pages[i]);
        dsm_put64(host->out, pages[i]);
        dsm_put32(host->out, page->epoch);
        dsm_put32(host->out, page->changes);
    }
    dsm_sent(host->out, message, n);
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_action *payload = dsm_act(host->out, DSM_ACT_PAYLOAD_PAGES);
        payload->id = pages[i];
        payload->count = 1;
    }
}

int dsm_move_hand(struct dsm_host *host, const struct dsm_event *event) {
    uint64_t pages[DSM_SLICE];
    uint32_t n = 0;
    if (event->host >= DSM_MAX_HOSTS || event->host == host->config.host) return DSM_E_EVENT;
    const struct dsm_region *region = dsm_region_find(host, event->id >> 32);
    if (event->arg > DSM_SLICE || !region || region->state != DSM_REGION_READY ||
        (uint32_t)event->id + event->arg > region->pages)
        return DSM_E_EVENT;
    if (!dsm_arena_room(&host->arena, dsm_page_room(host, event->id, (uint32_t)event->arg)))
        return DSM_E_MEMORY;
    for (uint32_t i = 0; i < event->arg; i++) {
        const struct dsm_page *page = dsm_page_find(host, event->id + i);
        if (page->home == host->config.host && page->state != DSM_LOST) pages[n++] = event->id + i;
    }
    bool takes = !dsm_is_lost(host, event->host) && host->config.model != DSM_SC &&
                 !dsm_hosts_has(host->leaving, event->host);
    if (n && takes) dsm_move_pages(host, pages, n, event->host);
    return DSM_OK;
}

/* What HANDED says. NOT_YET: its diff will come to the giver, which is its home for the heir
 * too. */
enum { REFUSED, TAKEN, NOT_YET };

static bool can_inherit(const struct dsm_host *host, const struct dsm_page *page) {
    return page && !dsm_page_is_homeless(host, page) && host->leave.state == DSM_STAYS &&
           !(page->flags & (DSM_UNACKED | DSM_HANDING)) && !dsm_at_home(page) &&
           page->state != DSM_LOST;
}

static bool comes(const struct dsm_page *page, uint32_t home) {
    return page && page->flags & DSM_UNACKED && page->home == home;
}

/* The bytes of the home at `off`, and over them what was written here and not yet sent. */
static void take_bytes(struct dsm_host *host, struct dsm_page *page, uint32_t off) {
    bool copy = page->state == DSM_CLEAN || page->state == DSM_DIRTY;
    if (page->state == DSM_ZERO) dsm_page_act(host, DSM_ACT_PUNCH, page);
    if (page->state == DSM_DIRTY) dsm_page_act(host, DSM_ACT_PROTECT, page);
    struct dsm_action *action = dsm_act(host->out, copy ? DSM_ACT_MERGE : DSM_ACT_FILL);
    action->id = dsm_page_id(host, page);
    action->count = 1;
    action->flag = page->state == DSM_DIRTY;
    action->off = off;
}

static void inherit(struct dsm_host *host, struct dsm_page *page, uint32_t epoch, uint32_t changes,
                    uint32_t off) {
    bool dirty = page->state == DSM_DIRTY;
    take_bytes(host, page, off);
    dsm_page_sought(host, page);
    page->flags &= (uint16_t)~DSM_OFFERED;
    page->run &= DSM_BOUND;
    page->state = dirty ? DSM_HOME_DIRTY : DSM_HOME;
    page->flags |= DSM_HELD;
    page->home = (uint16_t)host->config.host;
    page->epoch = epoch;
    page->changes = changes + dirty;
    page->get = 0;
    page->streak = 0;
    if (dirty) dsm_page_dirtied(host, page);
    dsm_page_owe(host, page, dirty); /* a publish that runs may have looked at it already */
    dsm_count(host, DSM_COUNT_HOME_MIGRATIONS, 1);
    dsm_serve_waiters(host, page, 1);
}

/* May the heir's record be made? */
static uint64_t hand_room(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n) {
    uint64_t room = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        const struct dsm_region *region = dsm_region_find(host, id >> 32);
        dsm_get64(&cursor);
        if (region && region->state == DSM_REGION_READY && (uint32_t)id < region->pages)
            room += dsm_page_room(host, id, 1);
    }
    return room;
}

int dsm_move_on_hand(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor), size = host->config.page_size;
    if (cursor->bad || n == 0 || n > DSM_SLICE ||
        (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * (16 + size))
        return DSM_E_PEER;
    if (!dsm_arena_room(&host->arena, hand_room(host, *cursor, n))) return DSM_E_MEMORY;
    uint32_t off = (uint32_t)(cursor->at - host->event->bytes) + n * 16;
    struct {
        uint64_t id;
        uint32_t epoch, answer;
    } answers[DSM_SLICE];
    for (uint32_t i = 0; i < n; i++) {
        answers[i].id = dsm_get64(cursor);
        answers[i].epoch = dsm_get32(cursor);
        uint32_t changes = dsm_get32(cursor);
        struct dsm_page *page = dsm_page_find(host, answers[i].id);
        bool takes = can_inherit(host, page);
        answers[i].answer = takes ? TAKEN : comes(page, from) ? NOT_YET : REFUSED;
        if (!page && host->leave.state == DSM_STAYS)
            dsm_region_want(host, answers[i].id >> 32); /* and it is handed again */
        if (takes) inherit(host, page, answers[i].epoch, changes, off + i * size);
    }
    uint32_t message = dsm_send(host->out, from, DSM_BULK, DSM_MSG_HANDED);
    dsm_put16(host->out, n);
    for (uint32_t i = 0; i < n; i++) {
        dsm_put64(host->out, answers[i].id);
        dsm_put32(host->out, answers[i].epoch);
        dsm_put8(host->out, answers[i].answer);
    }
    dsm_sent(host->out, message, 0);
    return DSM_OK;
}

static void handed(struct dsm_host *host, struct dsm_page *page, uint32_t answer) {
    bool accepted = answer == TAKEN, invalid = dsm_page_revalidate(host, page);
    page->flags &= (uint16_t)~DSM_HANDING;
    host->handing--;
    if (accepted && host->leave.state) dsm_page_owe(host, page, false); /* APPLIED */
    if (!accepted) {
        page->state = DSM_HOME;
        page->flags |= DSM_HELD;
        page->home = (uint16_t)host->config.host;
        page->epoch++;
        dsm_page_owe(host, page, false);
        dsm_leave_found(host);
        if (answer == NOT_YET && host->leave.state == DSM_LEAVES) {
            page->flags |= DSM_AWAITED;
            host->awaited++;
        }
    } else if (invalid) {
        dsm_page_invalidate(host, page);
    }
    if (!page->waiters) return;
    if (page->state == DSM_ABSENT)
        dsm_page_fetch(host, page, 1);
    else
        dsm_serve_waiters(host, page, 1);
}

int dsm_move_on_handed(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_SLICE || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 13)
        return DSM_E_PEER;
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_page *page = dsm_page_there(host, dsm_get64(cursor));
        uint32_t epoch = dsm_get32(cursor), answer = dsm_get8(cursor);
        if (page && page->flags & DSM_HANDING && page->home == from && page->epoch == epoch)
            handed(host, page, answer);
    }
    return DSM_OK;
}

void dsm_move_refused(struct dsm_host *host, uint32_t who) {
    for (dsm_ref at = host->region_list; at; at = dsm_next(host, at)) {
        const struct dsm_region *region = dsm_at(host, at);
        for (uint32_t index = 0; index < region->pages; index++) {
            struct dsm_page *page = dsm_page_known(host, region, index);
            if (!page)
                index |= DSM_CHUNK - 1;
            else if (page->flags & DSM_HANDING && page->home == who)
                handed(host, page, REFUSED);
        }
    }
}

/* What is here is a copy like any other now, whose home is lost: the heir may have taken it. */
void dsm_move_lost(struct dsm_host *host, struct dsm_page *page) {
    page->flags &= (uint16_t)~DSM_HANDING;
    host->handing--;
    if (dsm_page_revalidate(host, page)) dsm_page_invalidate(host, page);
    if (page->state == DSM_CLEAN) dsm_page_seek(host, page); /* before it is given up as a copy */
    if (!page->waiters) return;
    if (page->state == DSM_ABSENT)
        dsm_page_fetch(host, page, 1);
    else
        dsm_serve_waiters(host, page, 1);
}
