/* Regions of shared memory at a host, and the table of their pages.
 *
 * A region is known from its first attach here until the master drops it (unlinked and attached
 * nowhere). It starts with the list of all its pages ever noticed, taken at one position of the
 * master's log; every other page is zero. Page records are made on demand, DSM_CHUNK at a time.
 */
#include <assert.h>

#include "core/host/host.h"
#include "core/policy/policy.h"

int dsm_region_attach(struct dsm_host *host, const struct dsm_event *event) {
    if (event->id == 0 || event->id > UINT32_MAX) return DSM_E_EVENT;
    struct dsm_region *region = dsm_region_find(host, event->id);
    if (region && region->state == DSM_REGION_READY && region->attached) {
        region->attached++;
        dsm_reply(host, event->req, DSM_ST_OK, region->pages);
        return DSM_OK;
    }
    if (!region) region = dsm_region_make(host, (uint32_t)event->id);
    /* Unattached here: the master may have dropped it meanwhile, so it is asked. */
    if (!region->askers.head && !region->wanted) dsm_region_send(host, DSM_MSG_ATTACH, region->id);
    dsm_ref job = dsm_job_new(host, (struct dsm_job){.kind = DSM_JOB_ATTACH, .req = event->req});
    dsm_queue_push(host, &region->askers, job);
    return DSM_OK;
}

int dsm_region_detach(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_region *region = dsm_region_find(host, event->id);
    if (!region || !region->attached) return DSM_E_EVENT;
    /* Its pages stay: this host may be the home of some. */
    if (--region->attached == 0 && !region->askers.head)
        dsm_region_send(host, DSM_MSG_DETACH, region->id);
    return DSM_OK;
}

static void unlink_region(struct dsm_host *host, struct dsm_region *region) {
    dsm_ref *at = &host->region_list, ref = dsm_ref_of(host, region);
    while (*at != ref)
        at = &((struct dsm_region *)dsm_at(host, *at))->next;
    *at = region->next;
    dsm_map_drop(&host->arena, &host->regions, region->id);
    dsm_arena_give(&host->arena, ref, sizeof *region);
}

/* Answer all that wait for this region; those whose request was cancelled attach nothing. */
static void answer_askers(struct dsm_host *host, struct dsm_region *region, uint32_t status) {
    for (dsm_ref job; (job = dsm_queue_pop(host, &region->askers));) {
        const struct dsm_job *asker = dsm_at(host, job);
        if (status == DSM_ST_OK && !asker->cancelled) region->attached++;
        dsm_job_reply(host, job, status, region->pages);
    }
}

static void set_size(struct dsm_host *host, struct dsm_region *region, uint32_t pages) {
    region->pages = pages;
    region->nchunks = (pages + DSM_CHUNK - 1) / DSM_CHUNK;
    region->chunks = dsm_arena_take(&host->arena, region->nchunks * sizeof(dsm_ref));
    struct dsm_action *action = dsm_act(host->out, DSM_ACT_REGION);
    action->id = region->id;
    action->arg = pages;
    region->state = DSM_REGION_READY;
}

/* n x (page, count, home, epoch): pages noticed before we came. */
static void take_list(struct dsm_host *host, struct dsm_cursor *cursor, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(cursor);
        uint32_t count = dsm_get16(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        for (; count--; id++) {
            struct dsm_page *page = dsm_page_find(host, id);
            page->home = (uint16_t)home;
            page->epoch = epoch;
            if (home == host->config.host)
                page->state = DSM_LOST; /* it was here before this host was lost and came again */
            else if (DSM_RULE_ON(host, DSM_RULE_LATE))
                page->state = DSM_ABSENT;
        }
    }
}

/* n x (page, count, home, epoch) of this region, in rising order; a region that is known already
 * may have been touched here only where the list says nothing. */
static bool list_sound(const struct dsm_host *host, uint32_t id, uint32_t pages,
                       struct dsm_cursor cursor, uint32_t n) {
    const struct dsm_region *region = dsm_region_find(host, id);
    uint64_t least = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t first = dsm_get64(&cursor);
        uint32_t count = dsm_get16(&cursor), home = dsm_get16(&cursor);
        uint64_t index = (uint32_t)first;
        dsm_get32(&cursor);
        if (first >> 32 != id || index < least || index + count > pages) return false;
        if (home >= DSM_MAX_HOSTS) return false;
        least = index + count;
        if (!region || region->state != DSM_REGION_READY) continue;
        if (least > region->pages) return false;
        for (; index < least; index++) {
            const struct dsm_page *page = dsm_page_known(host, region, (uint32_t)index);
            if (page && (page->state != DSM_ZERO || page->flags)) return false;
        }
    }
    return dsm_cursor_done(&cursor);
}

/* What the records of the listed pages may need at most. */
static uint64_t list_room(struct dsm_cursor cursor, uint32_t n) {
    uint64_t chunks = 0, last = UINT64_MAX;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&cursor);
        uint32_t count = dsm_get16(&cursor);
        dsm_get16(&cursor);
        dsm_get32(&cursor);
        if (!count) continue;
        uint64_t first = id / DSM_CHUNK, end = (id + count - 1) / DSM_CHUNK;
        chunks += end - first + (first != last);
        last = end;
    }
    return chunks * DSM_CHUNK * sizeof(struct dsm_page);
}

enum { LAST = 1, MADE_KNOWN = 2 };

int dsm_region_on_region(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint32_t id = dsm_get32(cursor), status = dsm_get8(cursor), pages = dsm_get32(cursor),
             policy = dsm_get8(cursor);
    uint32_t hosts = dsm_get16(cursor), last = dsm_get8(cursor), n = dsm_get16(cursor);
    struct dsm_region *region = dsm_region_find(host, id);
    if (!id || cursor->bad || (status == DSM_ST_OK && !pages)) return DSM_E_PEER;
    if (!list_sound(host, id, pages, *cursor, n) || !dsm_policy_known(policy)) return DSM_E_PEER;
    uint64_t room = (uint64_t)pages / DSM_CHUNK * sizeof(dsm_ref);
    if (!dsm_arena_room(&host->arena, room + list_room(*cursor, n))) return DSM_E_MEMORY;
    /* A region that is known here ends by DROP; only what was asked for can be refused. */
    bool asked = region && region->state == DSM_REGION_ASKED;
    if (status != DSM_ST_OK && (status != DSM_ST_NO_REGION || !asked)) return DSM_E_PEER;
    if (!region) region = dsm_region_make(host, id); /* this host is home of pages of it */
    if (last == LAST) region->wanted = 0;
    if (status != DSM_ST_OK) {
        answer_askers(host, region, status);
        if (!region->attached) unlink_region(host, region);
        return DSM_OK;
    }
    if (region->state == DSM_REGION_ASKED) {
        region->policy = (uint8_t)policy;
        region->hosts = (uint16_t)hosts;
        set_size(host, region, pages);
    }
    take_list(host, cursor, n);
    if (last == LAST) answer_askers(host, region, DSM_ST_OK);
    /* Made known to a home, or all who asked gave up: nobody here uses it. */
    if (last == MADE_KNOWN || (last == LAST && !region->attached))
        dsm_region_send(host, DSM_MSG_DETACH, region->id);
    return DSM_OK;
}

static bool in_region(const struct dsm_host *host, dsm_ref page, const struct dsm_region *region) {
    return dsm_page_at(host, page)->region == dsm_ref_of(host, region);
}

/* Take the region's pages out of the queues of dirty and owed pages. */
static void leave_queues(struct dsm_host *host, const struct dsm_region *region) {
    struct dsm_queue kept = {0};
    uint32_t todo = host->todo, position = 0;
    for (dsm_ref page; (page = dsm_queue_pop(host, &host->dirty)); position++) {
        if (!in_region(host, page, region)) {
            dsm_queue_push(host, &kept, page);
            continue;
        }
        if (position < todo) host->todo--;
        host->ndirty--;
    }
    host->dirty = kept;
    dsm_ref *at = &host->owed_head;
    host->owed_tail = 0;
    while (*at) {
        if (in_region(host, *at, region)) {
            *at = dsm_page_at(host, *at)->owed_next;
            host->nowed--;
        } else {
            host->owed_tail = *at;
            at = &dsm_page_at(host, *at)->owed_next;
        }
    }
}

static void free_pages(struct dsm_host *host, struct dsm_region *region) {
    for (uint32_t chunk = 0; chunk < region->nchunks; chunk++) {
        dsm_ref ref = ((dsm_ref *)dsm_at(host, region->chunks))[chunk];
        if (!ref) continue;
        struct dsm_page *pages = dsm_at(host, ref);
        for (uint32_t i = 0; i < DSM_CHUNK; i++) {
            if (dsm_page_is_homeless(host, &pages[i]))
                dsm_homeless_forget(host, dsm_page_id(host, &pages[i]));
            if (pages[i].flags & DSM_UNACKED) host->unacked--;
            if (pages[i].flags & DSM_INVALID_LATER) host->invalid_later--;
            if (pages[i].flags & DSM_SEEKING) host->seeking--;
            if (pages[i].flags & DSM_HANDING) host->handing--;
            if (pages[i].flags & DSM_AWAITED) host->awaited--;
            for (dsm_ref w = pages[i].waiters, next; w; w = next) {
                next = dsm_next(host, w);
                dsm_arena_give(&host->arena, w, sizeof(struct dsm_waiter));
            }
        }
        dsm_arena_give(&host->arena, ref, DSM_CHUNK * sizeof(struct dsm_page));
    }
    dsm_arena_give(&host->arena, region->chunks, region->nchunks * sizeof(dsm_ref));
}

int dsm_region_on_drop(struct dsm_host *host, struct dsm_cursor *cursor) {
    struct dsm_region *region = dsm_region_find(host, dsm_get32(cursor));
    if (!dsm_cursor_done(cursor) || !region || region->attached) return DSM_E_PEER;
    if (region->state == DSM_REGION_READY) {
        leave_queues(host, region);
        dsm_single_forget(host, region->id);
        free_pages(host, region);
        dsm_act(host->out, DSM_ACT_REGION_END)->id = region->id;
    }
    struct dsm_queue askers =
        region->askers; /* an ATTACH that crossed the DROP is answered later */
    uint32_t id = region->id, wanted = region->wanted;
    unlink_region(host, region);
    if (!askers.head && !wanted) return DSM_OK;
    region = dsm_region_make(host, id);
    region->askers = askers;
    region->wanted = wanted;
    return DSM_OK;
}
