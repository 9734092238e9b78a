/* A page whose home is gone: the host left, or died. The master is asked where it lives (WHERE),
 * and knows, or asks all hosts what they have (ASK, SAY; its half is in master/recover.c), and says
 * (FOUND):
 *
 *   any page, home gone ──fault, diff──► SEEKING ──FOUND_HOME──► the GET, the DIFF goes there
 *                                           ├──FOUND_COPY──► the same; where the copy is: HOME
 *                                           └──FOUND_LOST──► LOST, or the diff is given up
 *
 * Invariants.
 *   NEWEST: a copy that is OFFERED stays here until FOUND, unless a notice makes it invalid: then
 *      the master, who sent that notice, does not choose it. Where a copy has become the page, all
 *      other copies go: what a host that died had given out and not announced is either in it or
 *      nowhere
 *   CUT: an answer leaves here after all lost hosts that the question names were cut off: what
 *      they had still sent is not heard any more, so nothing that is not in the answer can come to
 *      be
 *   LEFT: what a lost host had changed at its homes and not announced, these announce, before its
 *      locks pass on: or another copy would still be used, and who writes there what it holds
 *      already changes nothing
 */
#include "core/host/host.h"

enum { RECOVERED = 1 << 20 }; /* added to `changes`: no copy elsewhere has such a number (12) */

/* ---- a host is gone ---------------------------------------------------------------------- */

static void lose_home(struct dsm_host *host, struct dsm_page *page) {
    if (page->flags & DSM_HANDING) dsm_move_lost(host, page);
    if (page->flags & DSM_TAKING) { /* it stays the copy that it was */
        page->flags &= (uint16_t)~DSM_TAKING;
        if (dsm_page_revalidate(host, page)) dsm_page_invalidate(host, page);
    }
    if (page->state == DSM_FETCHING) {
        page->get = 0;
        page->state = DSM_ABSENT;
        if (page->waiters) dsm_page_fetch(host, page, 1);
    }
    if (!(page->flags & DSM_UNACKED)) return;
    if (DSM_RULE_ON(host, DSM_RULE_KEPT))
        dsm_page_seek(host, page); /* KEPT */
    else
        dsm_flush_acked(host, page);
}

/* Of a page that no other host may hold a copy of it need not be said. A host that left had
 * announced all that it changed. */
static bool may_be_left(const struct dsm_host *host, const struct dsm_page *page, uint32_t who) {
    if (dsm_hosts_has(host->leaving, who) || !DSM_RULE_ON(host, DSM_RULE_LEFT)) return false;
    if (page->flags & DSM_HANDING) return page->home != who; /* else it is sought */
    return dsm_at_home(page) && page->flags & DSM_HELD;
}

void dsm_recover_host_lost(struct dsm_host *host, uint32_t who) {
    if (dsm_is_lost(host, who)) return;
    dsm_hosts_set(host->lost, who, true);
    dsm_leave_host_lost(host, who);
    if (host->config.model == DSM_SC) return; /* single.c: nobody has a home */
    for (dsm_ref at = host->region_list; at; at = dsm_next(host, at)) {
        const struct dsm_region *region = dsm_at(host, at);
        for (uint32_t index = 0; index < region->pages; index++) {
            struct dsm_page *page = dsm_page_known(host, region, index);
            if (!page) {
                index |= DSM_CHUNK - 1; /* the whole chunk is as at the start */
                continue;
            }
            if (may_be_left(host, page, who)) dsm_page_owe(host, page, true);
            if (page->home == who)
                lose_home(host, page);
            else
                dsm_page_came(host, page);
        }
    }
    dsm_collect_host_lost(host, who);
    dsm_homeless_host_lost(host, who);
}

int dsm_recover_on_cut(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint32_t who = dsm_get16(cursor);
    if (!dsm_cursor_done(cursor) || who >= DSM_MAX_HOSTS || who == host->config.host)
        return DSM_E_PEER;
    if (DSM_RULE_ON(host, DSM_RULE_CUT)) dsm_recover_host_lost(host, who); /* CUT */
    dsm_publish_then(host, dsm_job_new(host, (struct dsm_job){.kind = DSM_JOB_CUT, .client = who}));
    return DSM_OK;
}

void dsm_recover_is_cut(struct dsm_host *host, uint32_t who) {
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_IS_CUT);
    dsm_put16(host->out, who);
    dsm_sent(host->out, message, 0);
}

/* ---- what this host knows ---------------------------------------------------------------- */

static uint32_t what_is_here(const struct dsm_host *host, const struct dsm_page *page) {
    if (dsm_page_is_homeless(host, page)) /* what only its writers have no copy has */
        return page->home == host->config.host && page->state != DSM_LOST ? DSM_SAY_HOME : 0;
    uint32_t what = page->flags & DSM_APPLIED ? DSM_SAY_APPLIED : 0;
    bool copy = page->state == DSM_CLEAN || page->state == DSM_DIRTY;
    if (dsm_at_home(page) || page->flags & DSM_HANDING) return DSM_SAY_HOME;
    if (page->flags & DSM_TAKING) return what | DSM_SAY_COMING;
    return copy && !(page->flags & DSM_INVALID_LATER) ? what | DSM_SAY_COPY : what;
}

static void say(struct dsm_host *host, uint64_t id) {
    struct dsm_page *page = dsm_page_there(host, id);
    uint32_t what = page ? what_is_here(host, page) : 0, home = DSM_NO_HOST, epoch = 0;
    if (what & DSM_SAY_COPY && host->leave.state == DSM_GONE) what &= ~(uint32_t)DSM_SAY_COPY;
    if (what & DSM_SAY_COPY) page->flags |= DSM_OFFERED;
    if (page) {
        bool handing = page->flags & DSM_HANDING;
        home = handing ? host->config.host : page->home;
        epoch = page->epoch - handing;
    }
    dsm_put64(host->out, id);
    dsm_put8(host->out, what);
    dsm_put16(host->out, home);
    dsm_put32(host->out, epoch);
}

int dsm_recover_on_ask(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint64_t lost[DSM_HOST_WORDS];
    for (uint32_t i = 0; i < DSM_HOST_WORDS; i++)
        lost[i] = dsm_get64(cursor);
    uint32_t round = dsm_get32(cursor), n = dsm_get16(cursor), self = host->config.host;
    if (cursor->bad || n > DSM_BATCH || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 8 ||
        dsm_hosts_has(lost, self))
        return DSM_E_PEER;
    DSM_EACH_HOST(who, lost)
        if (DSM_RULE_ON(host, DSM_RULE_CUT)) dsm_recover_host_lost(host, who); /* CUT */
    if (!n) return DSM_OK;
    uint32_t message = dsm_send(host->out, DSM_MASTER, DSM_FAST, DSM_MSG_SAY);
    dsm_put32(host->out, round);
    dsm_put16(host->out, n);
    for (uint32_t i = 0; i < n; i++)
        say(host, dsm_get64(cursor));
    dsm_sent(host->out, message, 0);
    return DSM_OK;
}

/* ---- what the master has found ----------------------------------------------------------- */

/* Our copy is the page from now on, with what was written here, which is announced in any case, and
 * with what its home had given and not announced: no other copy is left (13, 18). */
static void become_home(struct dsm_host *host, struct dsm_page *page, uint32_t epoch) {
    bool dirty = page->state == DSM_DIRTY;
    if (dirty) dsm_page_act(host, DSM_ACT_UNTWIN, page);
    page->state = dirty ? DSM_HOME_DIRTY : DSM_HOME;
    page->run &= DSM_BOUND;
    dsm_page_uncarry(host, page);
    page->flags |= DSM_HELD;
    page->home = (uint16_t)host->config.host;
    page->epoch = epoch;
    page->changes += RECOVERED;
    page->streak = 0;
    if (dirty) dsm_page_dirtied(host, page);
    if (page->flags & DSM_UNACKED) dsm_flush_acked(host, page);
    dsm_count(host, DSM_COUNT_HOME_MIGRATIONS, 1);
    dsm_leave_found(host);
}

/* The question that was asked is answered: go on with what it was asked for. */
static void go_on(struct dsm_host *host, struct dsm_page *page) {
    if (dsm_page_is_homeless(host, page))
        dsm_homeless_found(host, page);
    else if (page->flags & DSM_UNACKED && dsm_is_lost(host, page->home))
        dsm_page_seek(host, page); /* that one is gone, too */
    else if (page->flags & DSM_UNACKED)
        dsm_page_send_kept(host, page);
    else if (page->state == DSM_ABSENT && page->waiters)
        dsm_page_fetch(host, page, 1);
}

static void lives_at(struct dsm_host *host, struct dsm_page *page, uint32_t home, uint32_t epoch,
                     bool only_copy) {
    bool waits = page->flags & DSM_SEEKING, asked = page->state == DSM_FETCHING && !only_copy;
    if (epoch > page->epoch && !asked && !dsm_page_is_pending(page)) {
        page->home = (uint16_t)home;
        page->epoch = epoch;
    }
    dsm_page_sought(host, page);
    if (waits) go_on(host, page);
    if (only_copy && page->state != DSM_ZERO) dsm_page_invalidate(host, page); /* NEWEST */
}

static void lost_for_good(struct dsm_host *host, struct dsm_page *page) {
    page->flags |= DSM_ORPHAN;
    if (!(page->flags & DSM_SEEKING)) return;
    dsm_page_sought(host, page);
    if (dsm_page_is_homeless(host, page)) {
        dsm_homeless_found(host, page);
        return;
    }
    if (page->state == DSM_ABSENT && page->waiters) dsm_serve_poison(host, page);
    dsm_page_uncarry(host, page);
    if (page->flags & DSM_UNACKED) dsm_flush_acked(host, page);
}

/* A copy that was offered is here until now; a home is known to itself first. */
static bool is_possible(const struct dsm_host *host, uint64_t id, uint32_t how, uint32_t home,
                        uint32_t epoch) {
    const struct dsm_page *page = dsm_page_there(host, id);
    if (how > DSM_FOUND_LOST || home >= DSM_MAX_HOSTS) return false;
    if (!page || how != DSM_FOUND_COPY) return true;
    if (home != host->config.host) return !dsm_at_home(page) || page->epoch > epoch;
    bool copy = page->state == DSM_CLEAN || page->state == DSM_DIRTY;
    return copy && page->flags & DSM_OFFERED;
}

static void found(struct dsm_host *host, struct dsm_page *page, uint32_t how, uint32_t home,
                  uint32_t epoch) {
    page->flags &= (uint16_t)~DSM_OFFERED;
    if (how == DSM_FOUND_LOST) {
        lost_for_good(host, page);
    } else if (home != host->config.host) {
        lives_at(host, page, home, epoch, how == DSM_FOUND_COPY);
    } else if (how == DSM_FOUND_COPY) {
        dsm_page_sought(host, page);
        become_home(host, page, epoch);
    }
}

int dsm_recover_on_found(struct dsm_host *host, struct dsm_cursor *cursor) {
    uint32_t n = dsm_get16(cursor);
    if (cursor->bad || n > DSM_SLICE || (uint64_t)(cursor->end - cursor->at) != (uint64_t)n * 15)
        return DSM_E_PEER;
    struct dsm_cursor check = *cursor;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t id = dsm_get64(&check);
        uint32_t how = dsm_get8(&check), home = dsm_get16(&check), epoch = dsm_get32(&check);
        if (!is_possible(host, id, how, home, epoch)) return DSM_E_PEER;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct dsm_page *page = dsm_page_there(host, dsm_get64(cursor));
        uint32_t how = dsm_get8(cursor), home = dsm_get16(cursor), epoch = dsm_get32(cursor);
        if (page) found(host, page, how, home, epoch);
    }
    return DSM_OK;
}
