/* The master's part of the protocol.
 *
 *   step.c       dsm_master_init, dsm_master_step: which function serves which event
 *   publish.c    the log: stamps, page versions, homes; what a host must be told
 *   homeless.c   who has written a page that has no home
 *   bound.c      changes that came with their bytes
 *   entry.c      entry consistency: what is bound to which lock
 *   scope.c      scope consistency: what was written under which lock
 *   eager.c      eager release consistency: a publish ends when all hosts know of it
 *   recover.c    where pages live whose home is gone
 *   region.c     regions: who has them attached, and when they end
 *   lock.c       where each lock's token is, and who waits for it
 *   semaphore.c  permits
 *   barrier.c    parties
 *
 * Invariant T (told): before the master says anything to a host that lets a process there go on
 * (PUBLISHED, OBSERVED, GRANT, RET, UNLOCK), it names all pages that changed since it last told
 * that host: dsm_tell. Messages to one host stay in order, so `told` is what the host has seen
 * when it acts on them. (GRANT names less under EC and SCC.)
 */
#ifndef DSM_CORE_MASTER_MASTER_H
#define DSM_CORE_MASTER_MASTER_H
#include "core/arena.h"
#include "core/core.h"
#include "core/rules.h"
#include "core/wire.h"

/* A page that was noticed or claimed at least once. */
struct dsm_version {
    dsm_ref newer, older; /* recency: all pages by `last` */
    uint64_t last;        /* stamp of its last notice (0: only claimed) */
    uint64_t other;       /* stamp of its last notice by any host but `last_host` */
    dsm_ref region;
    uint32_t index, epoch;
    uint16_t last_host, home;
    dsm_ref carry;     /* bound.c (0: its last notice came without bytes) */
    dsm_ref lock;      /* entry.c: what it is bound to (0: nothing) */
    uint8_t lost;      /* its home died, and no copy was known to be the newest */
    dsm_ref writers;   /* homeless.c */
    uint8_t unused[8]; /* a reference counts units of 16 bytes: records side by side fill them */
};
_Static_assert(sizeof(struct dsm_version) % DSM_ARENA_UNIT == 0, "a version fills whole units");

enum { DSM_VERSIONS = 64 }; /* made this many at a time */

struct dsm_mregion {
    dsm_ref next;
    uint32_t id, pages;
    uint16_t hosts;
    uint8_t policy, unlinked;
    uint32_t nchunks;
    dsm_ref chunks;
    uint64_t attached[DSM_MAX_HOSTS / 64];
    uint64_t known[DSM_MAX_HOSTS / 64];   /* hosts that keep its pages, attached or not */
    uint64_t unready[DSM_MAX_HOSTS / 64]; /* homes that have not yet heard of it */
    struct dsm_queue askers;              /* attaches that wait for them */
};

struct dsm_asker { /* somebody who waits at the master */
    dsm_ref next;
    uint32_t host;
    uint32_t flag; /* lock: try; barrier: index */
    uint64_t req;
};

/* A page whose home is gone: who asks, and what the hosts say (recover.c). */
struct dsm_search {
    dsm_ref next;
    uint32_t epoch; /* the newest that is known of, and the home then */
    uint64_t page;
    uint64_t log; /* all hosts had been told so far when they were asked */
    uint64_t askers[DSM_MAX_HOSTS / 64];
    uint64_t silent[DSM_MAX_HOSTS / 64]; /* asked, and have not answered */
    uint64_t copies[DSM_MAX_HOSTS / 64];
    uint64_t applied[DSM_MAX_HOSTS / 64];
    uint32_t round; /* of the question */
    uint32_t prior; /* the newest epoch known of when they were asked */
    uint32_t home_epoch;
    uint16_t home, at_home; /* at_home: a host that says it is, at home_epoch */
    uint8_t asked, coming;  /* coming: the host `home` waits for the page to come */
    uint8_t again;          /* a host was lost meanwhile: ask once more */
    uint8_t unused;
};

struct dsm_found {
    uint64_t page;
    uint32_t how, home, epoch;
};

enum dsm_object_kind { DSM_OBJ_LOCK = 1, DSM_OBJ_SEMAPHORE, DSM_OBJ_BARRIER };

struct dsm_object {
    dsm_ref next;
    uint32_t kind;
    uint64_t id;
    uint32_t holder;   /* lock: the host that has the token (DSM_NO_HOST: the master);
                          barrier: where the action runs */
    uint32_t recalled; /* lock: a RECALL without try is out */
    uint64_t value;    /* semaphore: permits; barrier: parties that have come */
    uint64_t cause;    /* barrier: what broke it, as in DSM_ST_BROKEN */
    uint64_t bound;    /* semaphore; barrier: parties */
    uint32_t state;    /* barrier: enum in barrier.c */
    struct dsm_queue waiting;
    struct dsm_queue later; /* barrier: come while the action runs */
    dsm_ref told; /* lock: for each host, up to where grants of it told all that they must */
    dsm_ref scope, next_open; /* scope.c */
    uint32_t open;
    uint64_t released; /* scope.c: the log when a host released it that had not taken it */
    uint64_t came[DSM_MAX_HOSTS / 64]; /* barrier: hosts that have waited in it */
    uint8_t died;                      /* lock: as in struct dsm_lock */
    uint8_t unused[7];
};

struct dsm_master {
    struct dsm_arena arena; /* first */
    struct dsm_config config;
    uint64_t log; /* the last stamp */
    uint64_t told[DSM_MAX_HOSTS];
    uint32_t intervals[DSM_MAX_HOSTS]; /* publishes of each host */
    uint64_t joined[DSM_MAX_HOSTS / 64];
    dsm_ref newest; /* of struct dsm_version */
    struct dsm_map regions, objects;
    dsm_ref region_list, object_list;
    uint64_t gone[DSM_MAX_HOSTS / 64]; /* hosts that were here and are not any more */
    uint64_t left[DSM_MAX_HOSTS / 64]; /* hosts that have handed over all that they had */
    struct dsm_map searches;           /* by page */
    dsm_ref search_list;
    struct dsm_found found[DSM_SLICE]; /* what this step has found, to be told to all */
    uint32_t nfound, round;
    dsm_ref open;           /* scope.c: locks that are held */
    struct dsm_queue eager; /* eager.c: publishes that not all hosts know of */
    struct dsm_queue cuts;  /* cut.c: hosts that are lost, and not all others know */
    struct dsm_map singles; /* single.c: by page */
    dsm_ref single_list;
    uint32_t rounds;
    struct dsm_out *out;
};

static inline bool dsm_bit(const uint64_t *bits, uint32_t host) {
    return host < DSM_MAX_HOSTS && (bits[host / 64] >> (host % 64) & 1);
}

static inline void dsm_set_bit(uint64_t *bits, uint32_t host, bool on) {
    uint64_t bit = 1ULL << (host % 64);
    bits[host / 64] = on ? bits[host / 64] | bit : bits[host / 64] & ~bit;
}

/* entry.c */
int dsm_entry_on_bind(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
/* Up to which stamp the host was told of changes of this page. */
uint64_t dsm_entry_told(const struct dsm_master *master, const struct dsm_version *version,
                        uint32_t host);
/* Does a grant of this lock tell of the page? */
bool dsm_entry_concerns(const struct dsm_master *master, const struct dsm_version *version,
                        const struct dsm_object *lock);
bool dsm_entry_is_shared(const struct dsm_version *version);
/* The host was told of all that is bound to it. */
void dsm_entry_granted(struct dsm_master *master, struct dsm_object *lock, uint32_t host);

/* scope.c */
int dsm_scope_on_scope(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
/* The host has announced a change of the page. */
void dsm_scope_wrote(struct dsm_master *master, struct dsm_version *version, uint32_t host);
/* It is released, by a host that may not be its taker's. */
void dsm_scope_released(struct dsm_master *master, struct dsm_object *lock);
void dsm_scope_close(struct dsm_master *master, struct dsm_object *lock);
/* Walk the pages that the host must be told of before it gets the lock (*at = 0 at first), the last
 * written first; NULL: no more. */
const struct dsm_version *dsm_scope_next(const struct dsm_master *master,
                                         const struct dsm_object *lock, uint32_t host, dsm_ref *at);
/* Must it be told everything? */
bool dsm_scope_is_all(const struct dsm_master *master, const struct dsm_object *lock,
                      uint32_t host);
/* Forget what all hosts were told of; and a region. */
void dsm_scope_prune(struct dsm_master *master, struct dsm_object *lock);
void dsm_scope_forget(struct dsm_master *master, const struct dsm_mregion *region);

/* eager.c */
/* The host's publish, stamped master->log: PUBLISHED is sent when all others know of it. */
void dsm_eager_publish(struct dsm_master *master, uint32_t host);
int dsm_eager_on_known(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_eager_host_lost(struct dsm_master *master, uint32_t host);

/* cut.c */
void dsm_cut_host_lost(struct dsm_master *master, uint32_t host);
/* It is lost, and what it held has not passed on yet. */
bool dsm_cut_is_out(const struct dsm_master *master, uint32_t host);
int dsm_cut_on_is_cut(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);

/* single.c */
int dsm_msingle_on_need(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_msingle_on_done(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_msingle_on_gone(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_msingle_on_still(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_msingle_host_left(struct dsm_master *master, uint32_t host);
void dsm_msingle_end(struct dsm_master *master, uint32_t region);

/* publish.c */
void dsm_version_published(struct dsm_master *master, uint32_t host);
/* Before a lock is granted to the host: what the model says that it must know. */
void dsm_tell_grant(struct dsm_master *master, uint32_t host, struct dsm_object *lock);
void dsm_tell(struct dsm_master *master, uint32_t host);
int dsm_mpublish_on_notice(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mpublish_on_changes(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mpublish_on_claim(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
/* Send REGION with all its pages ever noticed, at this position of the log. */
void dsm_version_send_list(struct dsm_master *master, uint32_t to, struct dsm_mregion *region,
                           bool with_pages, bool asked);
void dsm_version_forget(struct dsm_master *master, struct dsm_mregion *region);

/* homeless.c */
struct dsm_told { /* a WRITERS message being made */
    uint32_t message, n_at, n;
};
bool dsm_mhomeless_kept(const struct dsm_master *master, const struct dsm_version *version);
/* The host announces that it has written the page. */
void dsm_mhomeless_note(struct dsm_master *master, struct dsm_version *version, uint32_t host);
void dsm_mhomeless_forget(struct dsm_master *master, struct dsm_version *version);
/* Those who wrote it after `since`. */
void dsm_mhomeless_tell(struct dsm_master *master, struct dsm_told *told, uint32_t host,
                        uint64_t id, const struct dsm_version *version, uint64_t since);
void dsm_mhomeless_end(struct dsm_master *master, struct dsm_told *told);

/* bound.c */
/* A change of the page, stamped master->log, came with its diff; before it is noticed. */
void dsm_mbound_add(struct dsm_master *master, struct dsm_version *version, uint32_t host,
                    const uint8_t *bytes, uint32_t len);
/* Who is told the bytes: one host, or all (DSM_NO_HOST). */
void dsm_mbound_for(struct dsm_master *master, struct dsm_version *version, uint32_t reader);
void dsm_mbound_drop(struct dsm_master *master, struct dsm_version *version);
/* Can the host be told what changed, instead of that the page did? */
bool dsm_mbound_serves(const struct dsm_master *master, const struct dsm_version *version,
                       uint32_t host);
/* An UPDATES message being written (n = 0: none is). */
struct dsm_updates {
    uint32_t message, n_at, n;
};
void dsm_mbound_tell(struct dsm_master *master, struct dsm_updates *updates, uint32_t host,
                     uint64_t id, const struct dsm_version *version);
void dsm_mbound_end(struct dsm_master *master, struct dsm_updates *updates);
/* The page's version, made if needed; NULL: no such region. The page must lie in it. */
struct dsm_version *dsm_version_find(struct dsm_master *master, uint64_t id);
/* Would a host that was told so far have to be told of it? */
bool dsm_version_concerns(const struct dsm_master *master, const struct dsm_version *version,
                          uint32_t host, uint64_t told);

/* recover.c */
int dsm_mrecover_on_where(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mrecover_on_say(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_mrecover_host_joined(struct dsm_master *master, uint32_t host);
void dsm_mrecover_host_lost(struct dsm_master *master, uint32_t host);
void dsm_mrecover_forget(struct dsm_master *master, uint32_t region);
void dsm_mrecover_tell(struct dsm_master *master); /* at the end of a step */

/* region.c */
struct dsm_mregion *dsm_mregion_find(const struct dsm_master *master, uint64_t id);
int dsm_mregion_made(struct dsm_master *master, const struct dsm_event *event);
int dsm_mregion_unlink(struct dsm_master *master, const struct dsm_event *event);
int dsm_mregion_on_attach(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mregion_on_detach(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
void dsm_mregion_host_lost(struct dsm_master *master, uint32_t host);

/* objects */
struct dsm_object *dsm_object_find(struct dsm_master *master, uint64_t id, uint32_t kind);
struct dsm_object *dsm_object_make(struct dsm_master *master, uint64_t id, uint32_t kind);
void dsm_asker_push(struct dsm_master *master, struct dsm_queue *queue, struct dsm_asker asker);
bool dsm_asker_pop(struct dsm_master *master, struct dsm_queue *queue, struct dsm_asker *asker);
/* Take out the first asker that matches (req 0: any of that host); false: none. */
bool dsm_asker_take(struct dsm_master *master, struct dsm_queue *queue, uint32_t host,
                    uint64_t req);
/* The end of a CALL: told, then RET. */
void dsm_ret(struct dsm_master *master, uint32_t host, uint64_t req, uint32_t status,
             uint64_t value);

struct dsm_call {
    uint32_t host, op;
    uint64_t req, id, a, b, c;
};

/* lock.c */
/* The lock's record, made if needed; NULL: the id is that of something else. */
struct dsm_object *dsm_mlock_of(struct dsm_master *master, uint64_t id);
int dsm_mlock_on_ask(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_on_return(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_on_try_held(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_on_unlocked(struct dsm_master *master, struct dsm_cursor *cursor);
int dsm_mlock_on_owner_died(struct dsm_master *master, uint32_t from, struct dsm_cursor *cursor);
int dsm_mlock_unlock(struct dsm_master *master, const struct dsm_call *call);
/* True: its token was there, and its next holder is told that one died. */
bool dsm_mlock_host_lost(struct dsm_master *master, struct dsm_object *lock, uint32_t host);
/* To who watches: one of `count` locks that are so. */
void dsm_mlock_say(struct dsm_master *master, uint64_t lock, uint32_t host, uint64_t count);
/* semaphore.c, barrier.c */
int dsm_semaphore_call(struct dsm_master *master, const struct dsm_call *call);
void dsm_semaphore_cancel(struct dsm_master *master, struct dsm_object *object, uint32_t host,
                          uint64_t req);
int dsm_barrier_call(struct dsm_master *master, const struct dsm_call *call);
void dsm_barrier_cancel(struct dsm_master *master, struct dsm_object *object, uint32_t host,
                        uint64_t req);
void dsm_barrier_host_lost(struct dsm_master *master, struct dsm_object *barrier, uint32_t host);

#endif
