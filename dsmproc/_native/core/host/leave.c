/* This host leaves: the pages that are at home here move to the others, slice by slice.
 *
 *   STAYS ──LEAVE──► LEAVES ──a whole sweep met no page at home here──► GONE ──CALL, RET──► reply
 *
 * A sweep goes over all pages; what it gives may be refused (the heir has a diff under way, or has
 * not heard of the region and asks the master for it), and is met by the next sweep again. If that
 * diff is on its way here, not before it has come: it cannot be applied while the page is offered,
 * so heirs that all have one would refuse for ever. Copies whose home is lost are sought on the
 * first sweep: the only newest copy may be here.
 *
 * Invariant: before the host is gone, the master has been told where its pages live; from the last
 * sweep on it hears no other host, and those know it (BYE), so that none hands a page to it. What
 * they still ask of it they ask the new homes when it is gone, and send the diffs there that it did
 * not acknowledge (KEPT, CUT). Pages go by HAND, so what they hold is owed (LENT, move.c), and the
 * last publish before GONE announces it. The tokens that are here go back when the master hears
 * that the host is gone; the call behind all that it has said tells the master that nothing is lost
 * with it (master/lock.c).
 */
#include <string.h>

#include "core/host/history.h"
#include "core/host/host.h"

enum { LOOKED_AT = 4096, AT_ONCE = 4 * DSM_SLICE };

/* The heirs in turn; DSM_NO_HOST: none is left. */
static uint32_t next_heir(struct dsm_host *host) {
    for (uint32_t i = 1; i <= DSM_MAX_HOSTS; i++) {
        uint32_t who = (host->leave.last + i) % DSM_MAX_HOSTS;
        if (!dsm_hosts_has(host->leave.heirs, who)) continue;
        host->leave.last = who;
        return who;
    }
    return DSM_NO_HOST;
}

int dsm_leave_start(struct dsm_host *host, const struct dsm_event *event) {
    struct dsm_cursor cursor = {.at = event->bytes, .end = event->bytes + event->len};
    struct dsm_leave leave = {.req = event->req, .state = DSM_LEAVES};
    for (uint32_t i = 0; i < DSM_HOST_WORDS; i++)
        leave.silent[i] = dsm_get64(&cursor) & ~host->lost[i];
    dsm_hosts_set(leave.silent, host->config.host, false);
    for (uint32_t i = 0; i < DSM_HOST_WORDS; i++)
        leave.heirs[i] = leave.silent[i] & ~host->leaving[i];
    if (!dsm_cursor_done(&cursor) || host->leave.state != DSM_STAYS || !event->req)
        return DSM_E_EVENT;
    host->leave = leave;
    return DSM_OK;
}

/* The region that the sweep is in; NULL: it is over. */
static const struct dsm_region *region_here(struct dsm_host *host) {
    const struct dsm_region *region = dsm_region_find(host, host->leave.next >> 32);
    if (region && (uint32_t)host->leave.next < region->pages) return region;
    dsm_ref next = region ? region->next : host->region_list;
    if (!region && host->leave.next) {
        host->leave.found = 1; /* that region has ended: go round once more */
        return NULL;
    }
    if (!next) return NULL;
    region = dsm_at(host, next);
    host->leave.next = (uint64_t)region->id << 32;
    return region;
}

static void look_at(struct dsm_host *host, struct dsm_page *page, uint64_t *pages, uint32_t *n) {
    bool homeless = dsm_page_is_homeless(host, page);
    if (page->flags & DSM_AWAITED) return;
    if (homeless ? dsm_history_is_base(host, page) : dsm_at_home(page))
        pages[(*n)++] = dsm_page_id(host, page);
    else if (!homeless && !host->leave.sweeps && dsm_is_lost(host, page->home) &&
             (page->state == DSM_CLEAN || page->state == DSM_DIRTY))
        dsm_page_seek(host, page);
}

/* One slice of the sweep; false: it came to its end. */
static bool sweep(struct dsm_host *host, uint64_t *pages, uint32_t *n) {
    for (uint32_t looked = 0; *n < DSM_SLICE && looked < LOOKED_AT; looked++) {
        const struct dsm_region *region = region_here(host);
        if (!region) return false;
        bool ready = region->state == DSM_REGION_READY && region->pages;
        struct dsm_page *page =
            ready ? dsm_page_known(host, region, (uint32_t)host->leave.next) : NULL;
        if (page) look_at(host, page, pages, n);
        /* A chunk without records is all zero and was never touched. */
        host->leave.next = page ? host->leave.next + 1 : ((host->leave.next | (DSM_CHUNK - 1)) + 1);
    }
    return true;
}

static void soon_again(struct dsm_host *host) {
    if (!host->more_asked) dsm_act(host->out, DSM_ACT_MORE);
    host->more_asked = 1;
}

/* What was written here and not announced goes to its homes first. */
static bool is_quiet(struct dsm_host *host) {
    if (host->collecting || host->kept || host->awaited) return false;
    if (host->handing || host->seeking || host->unacked || host->publish != DSM_IDLE) return false;
    if (!host->ndirty) return true;
    const struct dsm_job nothing = {.kind = DSM_JOB_SEEN};
    dsm_publish_then(host, dsm_job_new(host, nothing));
    soon_again(host);
    return false;
}

static void bye(struct dsm_host *host, uint32_t to, uint32_t is_answer) {
    uint32_t message = dsm_send(host->out, to, DSM_BULK, DSM_MSG_BYE);
    dsm_put8(host->out, is_answer);
    dsm_sent(host->out, message, 0);
}

/* All is handed over: when the master has heard of it the host may end. */
static void tell_master(struct dsm_host *host) {
    struct dsm_job job = {.kind = DSM_JOB_CALL, .op = DSM_CALL_LEAVE, .req = host->leave.req};
    job.id = UINT64_MAX; /* of no object */
    host->leave.req = 0;
    dsm_publish_then(host, dsm_job_new(host, job));
}

/* All know that this host takes nothing. */
static void end_if_answered(struct dsm_host *host) {
    if (host->leave.state == DSM_GONE && !dsm_hosts_any(host->leave.silent) && host->leave.req)
        tell_master(host);
}

/* All is given, and nothing is heard from now on. */
static void go(struct dsm_host *host) {
    host->leave.state = DSM_GONE;
    DSM_EACH_HOST(who, host->leave.silent)
        bye(host, who, 0);
    end_if_answered(host);
}

int dsm_leave_on_bye(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor) {
    uint32_t is_answer = dsm_get8(cursor);
    if (!dsm_cursor_done(cursor) || is_answer > 1) return DSM_E_PEER;
    if (is_answer) {
        dsm_hosts_set(host->leave.silent, from, false);
        end_if_answered(host);
        return DSM_OK;
    }
    dsm_hosts_set(host->leaving, from, true);
    dsm_hosts_set(host->leave.heirs, from, false);
    dsm_move_refused(host, from);
    bye(host, from, 1);
    return DSM_OK;
}

void dsm_leave_host_lost(struct dsm_host *host, uint32_t who) {
    dsm_hosts_set(host->leave.heirs, who, false);
    dsm_hosts_set(host->leave.silent, who, false);
    end_if_answered(host);
}

static void stay_behind(struct dsm_host *host, uint64_t left) {
    host->leave.state = DSM_GONE;
    if (!left) {
        tell_master(host);
        return;
    }
    dsm_reply(host, host->leave.req, DSM_ST_OK, left);
    host->leave.req = 0;
}

static uint64_t pages_at_home(const struct dsm_host *host) {
    uint64_t count = 0;
    for (dsm_ref at = host->region_list; at; at = dsm_next(host, at)) {
        const struct dsm_region *region = dsm_at(host, at);
        for (uint32_t index = 0; index < region->pages; index++) {
            const struct dsm_page *page = dsm_page_known(host, region, index);
            if (!page) index |= DSM_CHUNK - 1;
            count += page && (dsm_at_home(page) || dsm_history_is_base(host, page));
        }
    }
    return count;
}

void dsm_leave_go_on(struct dsm_host *host) {
    uint64_t pages[DSM_SLICE];
    uint32_t n = 0;
    if (host->config.model == DSM_SC) { /* the others get what they have copies of */
        stay_behind(host, pages_at_home(host));
        return;
    }
    if (host->ncompared || host->handing + host->collecting > AT_ONCE - DSM_SLICE) return;
    bool more = sweep(host, pages, &n);
    uint32_t heir = n ? next_heir(host) : DSM_NO_HOST;
    if (n && heir == DSM_NO_HOST) {
        stay_behind(host, pages_at_home(host));
        return;
    }
    if (n) {
        host->leave.found = 1;
        dsm_move_pages(host, pages, n, heir);
    }
    if (!more && !is_quiet(host)) return; /* answers bring the next sweep */
    if (!more && !host->leave.found) {
        go(host);
        return;
    }
    if (!more) {
        host->leave.found = 0;
        host->leave.next = 0;
        host->leave.sweeps++;
    }
    soon_again(host);
}
