/* Bound pages: small changes of them travel with the notice, as an update instead of an
 * invalidation (Midway's entry consistency as an acceleration of release and acquire).
 *
 * A page is *bound* at a host because a process there said that its bytes belong to a lock
 * (lock.bind, Value, Array). A bound page is kept writable between publishes for longer than
 * others, with a twin at its home too. When a publish finds that it changed by few bytes, the diff
 * goes to the home as ever, and once more to the master in place of the page's name (CHANGES;
 * master/bound.c). Hosts that saw all changes before this one are told it as UPDATES: they store
 * the bytes into the copy that they have, so that nobody faults. All others are told as ever.
 *
 * So the lock's grant carries the bytes, and so does any other acquire: what a program may rely on
 * is the same with and without. Nothing here must be bound at two hosts alike, or at all.
 *
 * Invariants.
 *   a  `carried` is the length of the one diff that is all of what the next notice will announce
 *      of the page; a second change before that notice makes it a plain one (WHOLE)
 *   b  an update goes into the twin too, or this host would announce it as its own
 *      (TWINNED)
 *   c  where an update let copies live, the home page stays watched: HOME_DIRTY with a twin, or
 *      HOME; it is HOME_PRIVATE only after a plain notice, which ends all copies (WATCHED)
 *   d  an update is stored only over a copy that has all that was announced before it
 *      (master/bound.c)
 *   LENT (home.c): the diff that travels is the one that was compared, so its sending is the
 *      announcement. A page that is equal to its twin needs none: nothing but the twin was given
 */
#include "core/host/host.h"

/* The master hears of it, for models in which it matters which lock it is. */
static void send_bind(struct dsm_host *host, const struct dsm_event *event) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_BIND);
    dsm_put64(host->out, event->arg);
    dsm_put64(host->out, event->id);
    dsm_put16(host->out, event->client);
    dsm_sent(host->out, message, 0);
}

int dsm_bound_bind(struct dsm_host *host, const struct dsm_event *event) {
    const struct dsm_region *region = dsm_region_find(host, event->id >> 32);
    uint32_t count = event->client;
    if (!region || region->state != DSM_REGION_READY || !count || count > DSM_BIND_MAX ||
        (uint64_t)(uint32_t)event->id + count > region->pages)
        return DSM_E_EVENT;
    if (host->config.model == DSM_SC) return DSM_OK; /* nothing travels with notices */
    if (!dsm_arena_room(&host->arena, dsm_page_room(host, event->id, count))) return DSM_E_MEMORY;
    bool small = host->config.carry && !event->req && region->policy != DSM_HOME_HOMELESS;
    for (uint32_t i = 0; small && i < count; i++)
        dsm_page_find(host, event->id + i)->run |= DSM_BOUND;
    if (event->arg) send_bind(host, event);
    return DSM_OK;
}

static bool fits(struct dsm_host *host, struct dsm_page *page, uint32_t len) {
    if (page->run & DSM_BOUND) return len <= host->config.carry;
    return dsm_feed_carries(host, page, len);
}

void dsm_bound_owe(struct dsm_host *host, struct dsm_page *page, uint32_t len) {
    bool whole = !(page->flags & DSM_CHANGED) || !DSM_RULE_ON(host, DSM_RULE_WHOLE);
    dsm_page_owe(host, page, true);
    if (whole && fits(host, page, len)) page->carried = (uint16_t)len;
}

/* ---- a written page at its home ------------------------------------------------------------ */

static void forget_twin(struct dsm_host *host, struct dsm_page *page) {
    dsm_page_act(host, DSM_ACT_UNTWIN, page);
    page->run &= (uint8_t)~DSM_HOME_TWIN;
}

void dsm_bound_looked(struct dsm_host *host, struct dsm_compared *result) {
    struct dsm_page *page = dsm_page_at(host, result->page);
    uint32_t len = result->len;
    result->len = 0;
    if (len) {
        page->idle = 0;
        dsm_bound_owe(host, page, len);
        if (!page->carried) {
            dsm_page_act(host, DSM_ACT_UNDIFF, page);
            forget_twin(host, page);
            dsm_written_home(host, page);
            return;
        }
        page->changes++;
        if (page->streak < UINT8_MAX) page->streak++;
    } else if (page->idle < UINT8_MAX) {
        page->idle++;
    }
    if (!DSM_RULE_ON(host, DSM_RULE_WATCHED)) {
        forget_twin(host, page);
        page->state = DSM_HOME_PRIVATE;
        page->flags &= (uint16_t)~DSM_HELD;
    } else if (result->keep) {
        dsm_page_dirtied(host, page);
    } else {
        forget_twin(host, page);
        page->state = DSM_HOME;
        page->flags |= DSM_HELD;
    }
}

/* ---- announcing ---------------------------------------------------------------------------- */

/* One CHANGES message: as many of the queue's pages as fit. */
static void send_changes(struct dsm_host *host, struct dsm_owed *owed) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_CHANGES);
    uint32_t last_at = host->out->nbytes, n = 0;
    uint64_t ids[DSM_SLICE];
    dsm_put8(host->out, 0);
    dsm_put16(host->out, 0);
    for (; owed->head && n < DSM_SLICE; n++) {
        struct dsm_page *page = dsm_page_at(host, owed->head);
        owed->head = page->owed_next;
        ids[n] = dsm_page_id(host, page);
        bool handing = page->flags & DSM_HANDING; /* a new home announces itself */
        dsm_put64(host->out, ids[n]);
        dsm_put16(host->out, handing ? host->config.host : page->home);
        dsm_put32(host->out, page->epoch - handing);
        dsm_put16(host->out, page->carried);
        dsm_put16(host->out, dsm_feed_reader(host, page));
        page->carried = 0;
        page->flags &= (uint16_t) ~(DSM_IN_OWED | DSM_CHANGED | DSM_APPLIED);
    }
    host->out->bytes[last_at] = owed->head ? 0 : dsm_publish_last(host);
    dsm_patch16(host->out, last_at + 1, n);
    dsm_sent(host->out, message, n);
    for (uint32_t i = 0; i < n; i++)
        dsm_act(host->out, DSM_ACT_PAYLOAD_DIFF)->id = ids[i];
    for (uint32_t i = 0; i < n; i++)
        dsm_page_act(host, DSM_ACT_UNDIFF, dsm_page_there(host, ids[i]));
}

/* Take the pages whose diffs are carried off the owed queue. */
struct dsm_owed dsm_bound_owed(struct dsm_host *host) {
    struct dsm_owed carried = {0}, plain = {0};
    for (dsm_ref ref = host->owed_head, next; ref; ref = next) {
        struct dsm_page *page = dsm_page_at(host, ref);
        struct dsm_owed *owed = page->carried ? &carried : &plain;
        next = page->owed_next;
        page->owed_next = 0;
        if (owed->tail)
            dsm_page_at(host, owed->tail)->owed_next = ref;
        else
            owed->head = ref;
        owed->tail = ref;
        if (page->carried) host->nowed--;
    }
    host->owed_head = plain.head;
    host->owed_tail = plain.tail;
    return carried;
}

void dsm_bound_announce(struct dsm_host *host, struct dsm_owed *owed) {
    while (owed->head)
        send_changes(host, owed);
}

/* ---- being told ---------------------------------------------------------------------------- */

static void apply(struct dsm_host *host, struct dsm_page *page, uint32_t off, uint32_t len) {
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_APPLY);
    action->id = dsm_page_id(host, page);
    action->off = off;
    action->len = len;
    action->flag = page->state == DSM_DIRTY && DSM_RULE_ON(host, DSM_RULE_TWINNED);
    page->changes = 0; /* how many of its home's are in it is not known any more (rule COUNTED) */
    page->streak = 0;
    dsm_count(host, DSM_COUNT_UPDATES, 1);
}

/* A copy that may be the home's page, and one whose twin is not kept, are invalidated instead. */
static bool takes_updates(const struct dsm_page *page) {
    if (page->flags & (DSM_TAKING | DSM_HANDING)) return false;
    return page->state == DSM_CLEAN || (page->state == DSM_DIRTY && !(page->run & DSM_BARE));
}

struct update {
    uint64_t id;
    uint32_t home, epoch, off, len;
};

static struct update next_update(const struct dsm_host *host, struct dsm_cursor *cursor) {
    struct update update = {.id = dsm_get64(cursor)};
    update.home = dsm_get16(cursor);
    update.epoch = dsm_get32(cursor);
    update.len = dsm_get16(cursor);
    update.off = (uint32_t)(cursor->at - host->event->bytes);
    if (update.len > (uint64_t)(cursor->end - cursor->at))
        cursor->bad = true;
    else
        cursor->at += update.len;
    return update;
}

static int judge(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n) {
    uint64_t room = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct update update = next_update(host, &cursor);
        const uint8_t *bytes = host->event->bytes + update.off;
        if (cursor.bad || !dsm_diff_sound(bytes, update.len, host->config.page_size))
            return DSM_E_PEER;
        if (!dsm_page_home_is_possible(host, update.id, update.home, update.epoch))
            return DSM_E_PEER;
        room += dsm_page_room(host, update.id, 1);
    }
    if (!dsm_cursor_done(&cursor)) return DSM_E_PEER;
    return dsm_arena_room(&host->arena, room) ? DSM_OK : DSM_E_MEMORY;
}

int dsm_bound_on_updates(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_BATCH) return DSM_E_PEER;
    int status = judge(host, *cursor, n);
    uint64_t invalidated = 0; /* once is enough, also to learn its home: that one is asked now */
    for (uint32_t i = 0; status == DSM_OK && i < n; i++) {
        struct update next = next_update(host, cursor);
        dsm_count(host, DSM_COUNT_NOTICES_RECEIVED, 1);
        if (next.id == invalidated) continue;
        struct dsm_page *page = dsm_page_learn_home(host, next.id, next.home, next.epoch);
        if (!page || page->flags & DSM_INVALID_LATER) continue;
        if (takes_updates(page)) {
            apply(host, page, next.off, next.len);
        } else {
            dsm_page_invalidate(host, page);
            invalidated = next.id;
        }
    }
    return status;
}
