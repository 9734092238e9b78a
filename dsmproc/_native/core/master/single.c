/* Sequential consistency, the master's half (host/single.c): the directory of pages.
 *
 * Requests for a page are served one after the other; whatever this takes is done before the next.
 *
 *   IDLE ──NEED write──► TAKING: INV to all who have a copy ──all GONE──► OWN, or as below
 *     │                                                                         │
 *     └──NEED read────────────► GIVING: GIVE to the owner ◄─────────────────────┘
 *                                 └──► COPY from there to who wants it ──► DONE: IDLE
 *
 * Invariants.
 *   a  `copies` are the hosts that have the page, `owner` is one of them; who may write is alone
 *   b  INV and GIVE carry a round, and an answer counts for that round only
 *   c  where the owner dies while it gives, who wants the page is asked whether it has come
 *   d  a copy whose owner died becomes the page; where there is none, the page is lost
 */
#include "core/master/master.h"

enum { IDLE = 0, TAKING, GIVING };

struct single {
    dsm_ref next; /* all of them */
    uint32_t round;
    uint64_t page;
    uint64_t copies[DSM_HOST_WORDS];
    uint64_t silent[DSM_HOST_WORDS]; /* have not answered their INV */
    struct dsm_queue waiting;        /* struct dsm_asker; flag: to write */
    uint64_t number;                 /* of the request that is served */
    uint16_t by, owner;              /* whose it is; DSM_NO_HOST: nobody has touched it yet */
    uint16_t giver;                  /* GIVING: the owner that was asked */
    uint8_t phase, write;
    uint8_t lost; /* its content is: with `owner` */
    uint8_t unused[7];
};

static struct single *find(struct dsm_master *master, uint64_t page) {
    dsm_ref ref = dsm_map_get(&master->arena, &master->singles, page);
    return ref ? dsm_at(master, ref) : NULL;
}

static struct single *make(struct dsm_master *master, uint64_t page) {
    dsm_ref ref = dsm_arena_take(&master->arena, sizeof(struct single));
    struct single *single = dsm_at(master, ref);
    *single = (struct single){.page = page, .owner = DSM_NO_HOST, .next = master->single_list};
    master->single_list = ref;
    dsm_map_put(&master->arena, &master->singles, page, ref);
    return single;
}

static uint32_t first_of(const uint64_t *bits) {
    for (uint32_t host = 0; host < DSM_MAX_HOSTS; host++)
        if (dsm_hosts_has(bits, host)) return host;
    return DSM_NO_HOST;
}

/* ---- saying ------------------------------------------------------------------------------ */

static void own(struct dsm_master *master, const struct single *single, uint32_t to, uint32_t how) {
    uint32_t message = dsm_send(master->out, to, DSM_FAST, DSM_MSG_OWN);
    dsm_put64(master->out, single->page);
    dsm_put8(master->out, how);
    dsm_sent(master->out, message, 0);
}

static void alone(struct single *single) {
    single->owner = single->by;
    dsm_hosts_clear(single->copies);
    dsm_hosts_set(single->copies, single->by, true);
    single->phase = IDLE;
}

static void give(struct dsm_master *master, struct single *single) {
    single->phase = GIVING;
    single->giver = single->owner;
    single->round = ++master->rounds;
    uint32_t message = dsm_send(master->out, single->owner, DSM_FAST, DSM_MSG_GIVE);
    dsm_put64(master->out, single->page);
    dsm_put32(master->out, single->round);
    dsm_put16(master->out, single->by);
    dsm_put8(master->out, single->write);
    dsm_sent(master->out, message, 0);
}

static void none(struct dsm_master *master, struct single *single) {
    single->phase = IDLE;
    uint32_t message = dsm_send(master->out, single->by, DSM_FAST, DSM_MSG_NONE);
    dsm_put64(master->out, single->page);
    dsm_put16(master->out, single->owner);
    dsm_sent(master->out, message, 0);
}

/* ---- serving ----------------------------------------------------------------------------- */

/* All others that had a copy have given it up. */
static void taken(struct dsm_master *master, struct single *single) {
    single->phase = IDLE;
    if (!dsm_hosts_has(master->joined, single->by)) {
        if (dsm_hosts_has(single->copies, single->owner)) return;
        single->owner = single->by; /* it alone had the page */
        single->lost = 1;
    } else if (single->lost) {
        none(master, single);
    } else if (dsm_hosts_has(single->copies, single->by)) {
        alone(single);
        own(master, single, single->by, DSM_OWN_ALONE);
    } else {
        give(master, single);
    }
}

static void take(struct dsm_master *master, struct single *single) {
    bool has = dsm_hosts_has(single->copies, single->by);
    single->phase = TAKING;
    single->round = ++master->rounds;
    for (uint32_t host = 0; host < DSM_MAX_HOSTS; host++) {
        if (!dsm_hosts_has(single->copies, host) || host == single->by) continue;
        if (host == single->owner && !has) continue; /* it has what is to be given */
        uint32_t message = dsm_send(master->out, host, DSM_FAST, DSM_MSG_INV);
        dsm_put64(master->out, single->page);
        dsm_put32(master->out, single->round);
        dsm_sent(master->out, message, 0);
        if (DSM_RULE_ON(master, DSM_RULE_ALONE))
            dsm_hosts_set(single->silent, host, true);
        else
            dsm_hosts_set(single->copies, host, false);
    }
    if (!dsm_hosts_any(single->silent)) taken(master, single);
}

static void start(struct dsm_master *master, struct single *single) {
    if (single->lost) {
        none(master, single);
    } else if (single->owner == DSM_NO_HOST) {
        alone(single);
        own(master, single, single->by, DSM_OWN_ZERO);
    } else if (single->write) {
        take(master, single);
    } else if (!dsm_hosts_has(single->copies, single->by)) { /* else it asks for what it has */
        give(master, single);
    }
}

static void go_on(struct dsm_master *master, struct single *single) {
    struct dsm_asker asker;
    while (single->phase == IDLE && dsm_asker_pop(master, &single->waiting, &asker)) {
        single->by = (uint16_t)asker.host;
        single->number = asker.req;
        single->write = asker.flag != 0;
        start(master, single);
    }
}

/* Its owner is not there any more, or does not have it. */
static void adopt(struct dsm_master *master, struct single *single) {
    uint32_t heir = first_of(single->copies);
    if (heir == DSM_NO_HOST) {
        single->lost = 1;
        return;
    }
    single->owner = (uint16_t)heir;
    own(master, single, heir, DSM_OWN_ADOPT);
}

/* Who was to give it will not; the request begins anew. */
static void again(struct dsm_master *master, struct single *single) {
    single->phase = IDLE;
    if (!dsm_hosts_has(single->copies, single->owner)) adopt(master, single);
    start(master, single);
    go_on(master, single);
}

/* ---- messages ---------------------------------------------------------------------------- */

static bool is_page(struct dsm_master *master, uint64_t page) {
    const struct dsm_mregion *region = dsm_mregion_find(master, page >> 32);
    return region && (uint32_t)page < region->pages;
}

int dsm_msingle_on_need(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    uint64_t page = dsm_get64(cursor);
    uint32_t write = dsm_get8(cursor), number = dsm_get32(cursor);
    if (!dsm_cursor_done(cursor) || !number || master->config.model != DSM_SC) return DSM_E_PEER;
    if (!dsm_mregion_find(master, page >> 32)) return DSM_OK; /* nobody there uses it any more */
    if (!is_page(master, page)) return DSM_E_PEER;
    struct single *single = find(master, page);
    if (!single) single = make(master, page);
    dsm_asker_push(master, &single->waiting,
                   (struct dsm_asker){.host = from, .flag = write, .req = number});
    go_on(master, single);
    return DSM_OK;
}

int dsm_msingle_on_done(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    struct single *single = find(master, dsm_get64(cursor));
    uint32_t number = dsm_get32(cursor);
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    if (!single) return DSM_OK;
    if (single->phase != GIVING || single->by != from || single->number != number)
        return DSM_E_PEER;
    if (single->write) {
        alone(single);
    } else {
        dsm_hosts_set(single->copies, from, true);
        single->phase = IDLE;
        if (!dsm_hosts_has(single->copies, single->owner)) adopt(master, single);
    }
    go_on(master, single);
    return DSM_OK;
}

int dsm_msingle_on_gone(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    struct single *single = find(master, dsm_get64(cursor));
    uint32_t round = dsm_get32(cursor);
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    if (!single) return DSM_OK;
    bool answers = round && round == single->round; /* b */
    if (!round || answers) dsm_hosts_set(single->copies, from, false);
    if (answers && single->phase == TAKING && dsm_hosts_has(single->silent, from)) {
        dsm_hosts_set(single->silent, from, false);
        if (!dsm_hosts_any(single->silent)) taken(master, single);
    } else if (answers && single->phase == GIVING && single->giver == from) {
        again(master, single);
    } else if (!round && single->owner == from && single->phase == IDLE) {
        adopt(master, single);
    }
    go_on(master, single);
    return DSM_OK;
}

int dsm_msingle_on_still(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor) {
    struct single *single = find(master, dsm_get64(cursor));
    uint32_t number = dsm_get32(cursor);
    if (!dsm_cursor_done(cursor)) return DSM_E_PEER;
    if (!single) return DSM_OK;
    bool stranded = single->phase == GIVING && !dsm_hosts_has(master->joined, single->giver);
    if (!stranded || single->by != from || single->number != number) return DSM_E_PEER;
    again(master, single);
    return DSM_OK;
}

/* ---- ends -------------------------------------------------------------------------------- */

static void asker_lost(struct dsm_master *master, struct single *single) {
    if (single->phase == GIVING) { /* written: it is, or will be, only there */
        if (single->write) single->lost = 1;
        if (single->write) single->owner = single->by;
        single->phase = IDLE;
        if (!single->lost && !dsm_hosts_has(single->copies, single->owner)) adopt(master, single);
    } else if (single->phase == TAKING && !dsm_hosts_any(single->silent)) {
        taken(master, single);
    }
}

static void lose(struct dsm_master *master, struct single *single, uint32_t host) {
    while (dsm_asker_take(master, &single->waiting, host, 0))
        continue;
    dsm_hosts_set(single->copies, host, false);
    bool waited = dsm_hosts_has(single->silent, host);
    dsm_hosts_set(single->silent, host, false);
    if (single->phase != IDLE && single->by == host) {
        asker_lost(master, single);
    } else if (single->phase == GIVING && single->giver == host) {
        uint32_t message = dsm_send(master->out, single->by, DSM_FAST, DSM_MSG_STRANDED);
        dsm_put64(master->out, single->page);
        dsm_put32(master->out, (uint32_t)single->number);
        dsm_put16(master->out, host); /* c */
        dsm_sent(master->out, message, 0);
    } else if (single->phase == TAKING) {
        if (single->owner == host && !dsm_hosts_has(single->copies, single->by)) single->lost = 1;
        if (waited && !dsm_hosts_any(single->silent)) taken(master, single);
    } else if (single->phase == IDLE && single->owner == host && !single->lost) {
        adopt(master, single); /* d */
    }
    go_on(master, single);
}

void dsm_msingle_host_left(struct dsm_master *master, uint32_t host) {
    for (dsm_ref at = master->single_list; at; at = dsm_next(master, at))
        lose(master, dsm_at(master, at), host);
}

void dsm_msingle_end(struct dsm_master *master, uint32_t region) {
    for (dsm_ref *at = &master->single_list; *at;) {
        dsm_ref ref = *at;
        struct single *single = dsm_at(master, ref);
        if (single->page >> 32 != region) {
            at = &single->next;
            continue;
        }
        struct dsm_asker asker;
        while (dsm_asker_pop(master, &single->waiting, &asker))
            continue;
        *at = single->next;
        dsm_map_drop(&master->arena, &master->singles, single->page);
        dsm_arena_give(&master->arena, ref, sizeof *single);
    }
}
