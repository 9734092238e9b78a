/* One host's part of the protocol: its state, and what the files of the host offer each other.
 *
 *   step.c     dsm_host_init, dsm_host_step: which function serves which event
 *   region.c   regions and the page table
 *   page.c     the automaton of a page: faults, fetches, invalidations
 *   home.c     what a home does: give copies, apply diffs
 *   move.c     how a home moves: taken by a writer, or handed over
 *   recover.c  a page whose home is gone: where it lives now, or whose copy is the page
 *   leave.c    this host leaves: its pages move to others
 *   run.c      what one fault brings for the pages behind it
 *   flush.c    comparisons, diffs, acknowledgements
 *   bound.c    pages bound to locks: their changes travel with notices
 *   feed.c     pages that are read after every publish: so do theirs
 *   evict.c    giving up memory
 *   single.c   sequential consistency: pages that one host writes, or several read
 *   publish.c  publish: compare, claim, wait for the homes, announce
 *   observe.c  observe, and what must wait until invalidations are finished (the gate)
 *   homeless.c pages whose writers keep their diffs; keep.c, collect.c: the writers
 *   lock.c     locks whose token is or is not here
 *   call.c     operations kept at the master: semaphores, barriers
 */
#ifndef DSM_CORE_HOST_HOST_H
#define DSM_CORE_HOST_HOST_H
#include "core/arena.h"
#include "core/core.h"
#include "core/wire.h"

#ifdef DSM_MUTATE
#define DSM_RULE_ON(node, rule) (!((node)->config.rules_off >> (rule)&1))
#else
#define DSM_RULE_ON(node, rule) ((void)(node), true)
#endif

/* ---- pages ------------------------------------------------------------------------------- */

enum dsm_page_state {
    DSM_ZERO = 0,     /* never noticed: its content is known, no message is needed */
    DSM_ABSENT,       /* not here */
    DSM_FETCHING,     /* a GET is out */
    DSM_CLEAN,        /* a copy, read-only in every client */
    DSM_DIRTY,        /* a copy that is written; its twin is kept (none: the twin is zeros) */
    DSM_HOME,         /* this host is its home; read-only in every client */
    DSM_HOME_DIRTY,   /* ... and written since the last publish */
    DSM_HOME_PRIVATE, /* ... and noticed before, held by no other host: written without fault */
    DSM_LOST,         /* its home died with the only copy */
    DSM_STALE,        /* homeless: a copy to which diffs are missing, mapped nowhere */
    DSM_PAGE_STATES,
};

enum dsm_page_flag {
    DSM_IN_DIRTY = 1, /* in the queue of pages that the next publish looks at */
    DSM_IN_OWED = 2,  /* in the queue of pages that the next notice must name */
    DSM_UNACKED = 4,  /* a diff of it is on its way to the home */
    DSM_CLAIMED = 8,  /* a CLAIM for it is on its way to the master */
    DSM_HELD = 16,    /* home only: another host may hold a copy younger than the last notice */
    DSM_INVALID_LATER = 32, /* an invalidation waits: for the DACK, or for what becomes of a move */
    DSM_TAKING = 64,      /* UNACKED: a TAKE is on its way to the home instead of the diff, kept */
    DSM_HANDING = 128,    /* given to `home`, which has not answered yet */
    DSM_CHANGED = 256,    /* IN_OWED: its content changed, not only its home */
    DSM_APPLIED = 512,    /* CHANGED: and a home elsewhere has applied it */
    DSM_SEEKING = 1024,   /* its home is gone: the master was asked where it lives now */
    DSM_OFFERED = 2048,   /* the master knows that this copy might become the page */
    DSM_ORPHAN = 4096,    /* its home died with what was newer, says the master */
    DSM_WANTING = 8192,   /* (sc) a NEED is out, number `get` */
    DSM_RETIRING = 16384, /* (sc) it was mapped a moment ago */
    DSM_AWAITED = 32768,  /* home, leaving: a diff is on its way here from who refused the page */
};

enum dsm_run_flag {
    DSM_OPENED = 1,     /* dirty since a neighbour's write fault, not known to be written itself */
    DSM_VAIN = 2,       /* was opened and not written: not opened by a run again */
    DSM_AHEAD = 4,      /* asked for ahead, and mapped nowhere yet */
    DSM_SHY = 8,        /* was asked for ahead and thrown away unused: not again */
    DSM_BARE = 16,      /* DIRTY: its twin is zeros, and not kept */
    DSM_BOUND = 32,     /* its bytes belong to a lock (bound.c) */
    DSM_HOME_TWIN = 64, /* HOME_DIRTY: a twin is kept, to know what is written */
    DSM_CHAINED = 128,  /* was read in a row, behind the page before it */
};

struct dsm_page {
    dsm_ref dirty_next; /* the link of host->dirty */
    dsm_ref owed_next;
    dsm_ref region;
    uint32_t index;
    dsm_ref waiters; /* struct dsm_waiter: clients whose threads are parked on this page */
    union {
        uint32_t get;        /* FETCHING: the number of the newest GET of this page */
        uint32_t kept;       /* UNACKED: the length of its diff, kept until it is acknowledged */
        struct {             /* at home (feed.c) */
            uint16_t reader; /* who fetches it (DSM_NO_HOST: several do) */
            uint8_t asked;   /* somebody did since the last plain notice */
            uint8_t fed;
        };
    };
    uint32_t epoch;   /* how often its home has moved */
    uint32_t changes; /* at home: how often it changed; a copy: of which that is the content
                         (0: not known) */
    union {
        uint32_t diff;  /* UNACKED: the number of the diff */
        uint32_t round; /* (sc) of the INV or GIVE that is to be answered */
    };
    uint16_t home;
    uint16_t flags;
    uint8_t state;
    uint8_t hot, idle; /* publishes in a row with, without changes */
    uint8_t streak;    /* publishes in a row in which only this host changed it */
    union {
        uint8_t patience; /* adaptive: how much longer a streak must be, from bad experience */
        uint8_t later;    /* (sc) RETIRING: what is to be done afterwards */
    };
    uint8_t run; /* enum dsm_run_flag */
    union {
        uint16_t carried; /* bytes of the diff that the next notice takes along (0: none) */
        uint16_t heir;    /* (sc) to whom it is to be given */
    };
};

_Static_assert(sizeof(struct dsm_page) % DSM_ARENA_UNIT == 0, "a page record fills whole units");

struct dsm_waiter {
    dsm_ref next;
    uint32_t client;
    uint32_t write;
    int32_t reach; /* what its fault may bring (run.c) */
};

enum { DSM_CHUNK = 64 }; /* page records are made this many at a time */

enum dsm_region_state { DSM_REGION_ASKED, DSM_REGION_READY };

struct dsm_region {
    dsm_ref next; /* all regions of the host */
    uint32_t id, pages, attached;
    uint16_t hosts;
    uint8_t policy, state;
    uint32_t nchunks;
    uint32_t wanted;         /* it was asked for because pages of it are to move here */
    dsm_ref chunks;          /* array of references to DSM_CHUNK page records; 0: all DSM_ZERO */
    struct dsm_queue askers; /* struct dsm_job: ATTACH requests that wait for the master */
};

/* ---- requests ---------------------------------------------------------------------------- */

enum dsm_job_kind {
    DSM_JOB_PUBLISH, /* reply the stamp */
    DSM_JOB_OBSERVE,
    DSM_JOB_ATTACH,
    DSM_JOB_LOCK,
    DSM_JOB_CALL,   /* at the master, or waiting for the publish before it */
    DSM_JOB_RETURN, /* a lock's token waits for the publish before it leaves */
    DSM_JOB_OPEN,   /* a lock is about to be taken: what was written before is not under it */
    DSM_JOB_CLOSE,  /* it is released */
    DSM_JOB_CUT,    /* tell the master that this host hears a lost one no more */
    /* At the gate: what the master said, waiting for invalidations to finish. */
    DSM_JOB_SEEN,
    DSM_JOB_STAMPED,
    DSM_JOB_OBSERVED,
    DSM_JOB_OWNER_DIED,
    DSM_JOB_GRANT,
    DSM_JOB_RECALL,
    DSM_JOB_TRY_FAILED,
    DSM_JOB_RET,
    DSM_JOB_UNLOCK,
    DSM_JOB_TOLD,
};

struct dsm_job {
    dsm_ref next;
    uint8_t kind, op, status, cancelled;
    uint32_t client;
    uint32_t try;
    uint64_t req;
    uint64_t id;
    uint64_t arg;     /* stamp, value */
    uint64_t stamped; /* wait for the PUBLISHED of this NOTICE */
    uint64_t a, b, c;
};

/* ---- locks ------------------------------------------------------------------------------- */

enum dsm_token {
    DSM_TOKEN_ABSENT,
    DSM_TOKEN_ASKED,
    DSM_TOKEN_HERE,
    DSM_TOKEN_LEAVING, /* the engine holds the word; the publish before the RETURN runs */
};

struct dsm_lock {
    dsm_ref next;
    uint8_t token;
    uint8_t recalled;       /* another host waits for the token */
    uint8_t asked_blocking; /* a LOCK_ASK without try is out */
    uint8_t busy;           /* it is being taken or released: a publish runs (scc, erc) */
    uint32_t grants;        /* local ones since the recall */
    uint32_t try_asker;
    uint64_t id;
    uint8_t died; /* a holder did, and none has said since that what the lock guards is right */
    uint8_t unused[7];
    struct dsm_queue waiters; /* struct dsm_job */
};

/* ---- the host ---------------------------------------------------------------------------- */

/* A page under comparison in this step, in the order of the COMPARE actions. */
struct dsm_compared {
    dsm_ref page;
    uint32_t len;
    uint8_t early; /* FLUSH: invalidated; punch it afterwards */
    uint8_t keep;  /* leave it writable */
    uint8_t look;  /* 1, 2: the first, the second look at an opened page */
    uint8_t take;  /* ask for the home instead of sending the diff */
    uint8_t bound; /* a written page at its home (bound.c) */
    uint8_t unused[4];
};

/* Faults that followed each other (run.c). */
struct dsm_row {
    uint64_t first, last; /* the first one's page, the last one's */
    uint64_t low, next;   /* they brought the pages from `low` to before `next` */
    uint64_t used;        /* when the last one was, in faults of this host */
    uint32_t length;      /* pages that it might bring; 0: no row */
    uint8_t write, down;
    uint8_t goes_on; /* the last fault was at its end */
    uint8_t unused;
};

/* Pages of a region, from `first` to before `end`. */
struct dsm_run {
    uint32_t first, end;
};

enum { DSM_ROWS = 16 };

enum dsm_leave_state {
    DSM_STAYS,
    DSM_LEAVES, /* its pages are handed over */
    DSM_GONE,   /* deaf: none was left when it became so */
};

struct dsm_leave { /* leave.c */
    uint64_t req;
    uint64_t heirs[DSM_MAX_HOSTS / 64];  /* bit set: may take pages */
    uint64_t silent[DSM_MAX_HOSTS / 64]; /* have not yet answered our BYE */
    uint64_t next;                       /* the page at which the sweep goes on */
    uint32_t state, last; /* enum dsm_leave_state; the heir that was given some last */
    uint32_t found;       /* the sweep has met pages that are at home here */
    uint32_t sweeps;
};

enum dsm_publish_state {
    DSM_IDLE,
    DSM_COMPARING, /* dirty pages are being looked at, CLAIMs may be out */
    DSM_ACKING,    /* all are; waiting for the DACKs */
};

struct dsm_host {
    struct dsm_arena arena; /* first */
    struct dsm_config config;
    uint64_t seen, published;
    struct dsm_map regions, locks, requests;
    dsm_ref region_list;

    struct dsm_queue dirty; /* of pages, by dirty_next */
    uint32_t ndirty;
    dsm_ref owed_head, owed_tail; /* of pages, by owed_next */
    uint32_t nowed;
    uint32_t unacked;       /* pages with DSM_UNACKED */
    uint32_t invalid_later; /* pages with DSM_INVALID_LATER */
    uint64_t hand;          /* the page at which the next eviction begins */
    bool tight;             /* memory is short: no homes are asked for */
    uint32_t gets, diffs;   /* the last GET's, the last diff's number */

    struct dsm_queue retiring; /* of pages, by dirty_next (sc) */
    uint32_t nretiring, armed; /* ... those that the next EV_MORE takes off */

    uint32_t publish;           /* enum dsm_publish_state */
    uint32_t given;             /* pages given away since the last publish, FEW + 1 at most */
    uint32_t few;               /* ... before it: no more than FEW */
    uint32_t feeding;           /* fed pages that this publish carries */
    uint32_t barrier;           /* this publish goes before an arrival at a barrier */
    uint32_t todo;              /* entries of `dirty` that this publish has still to look at */
    uint32_t claims;            /* CLAIM messages without answer */
    uint32_t more_asked;        /* an EV_MORE will come and look at the next slice */
    uint64_t notices, stamped;  /* NOTICEs sent; those whose PUBLISHED is in */
    struct dsm_queue jobs;      /* what the running publish does at its end */
    struct dsm_queue next_jobs; /* of the publish after it */
    struct dsm_queue stamping;  /* jobs whose NOTICE (number job->stamped) is out */

    struct dsm_queue observers;
    uint32_t observing;    /* an OBSERVE is out */
    uint32_t stale_ticks;  /* ticks since which pages were dirty and nothing was published */
    uint64_t observe_sent; /* number of the last OBSERVE sent */
    uint64_t observe_done;
    struct dsm_queue gate;

    uint32_t ncompared, compared; /* announced by COMPARE; results that are in */
    struct dsm_compared compare[2 * DSM_BATCH];
    uint64_t faults;
    struct dsm_row rows[DSM_ROWS];
    struct dsm_row *row; /* of the fault that this step serves; NULL: it serves none */
    uint64_t word_lock;  /* the lock whose TAKE result comes next (0: none) */
    uint32_t word_why;
    struct dsm_job word_job; /* an unlock that waits for the word's answer */
    uint32_t nclaim;         /* pages of the CLAIM being made */
    uint64_t claim[DSM_SLICE];
    uint64_t lost[DSM_MAX_HOSTS / 64]; /* bit set of hosts */
    uint32_t nseek;                    /* pages of the WHERE being made */
    uint64_t seek[DSM_SLICE];
    uint32_t seeking, handing, awaited;   /* pages with these flags */
    uint64_t leaving[DSM_MAX_HOSTS / 64]; /* other hosts that take nothing any more */
    struct dsm_leave leave;
    struct dsm_map histories;    /* by page: struct dsm_history (homeless.h) */
    struct dsm_queue collectors; /* who asks this host to take diffs in (collect.c) */
    uint64_t clock; /* `seen`, or where in the log it was told of writers before it has seen that */
    uint64_t kept;  /* bytes of kept diffs */
    uint64_t shed;  /* `stamped` + 1 when it was last looked which may go */
    uint32_t collecting; /* COLLECT messages without answer */
    uint32_t shedding;
    struct dsm_out *out; /* of the step that runs; NULL between steps */
    const struct dsm_event *event;
};

static inline struct dsm_page *dsm_page_at(const struct dsm_host *host, dsm_ref ref) {
    return dsm_at(host, ref);
}

static inline uint64_t dsm_page_id(const struct dsm_host *host, const struct dsm_page *page) {
    const struct dsm_region *region = dsm_at(host, page->region);
    return (uint64_t)region->id << 32 | page->index;
}

static inline bool dsm_is_lost(const struct dsm_host *host, uint32_t who) {
    return who < DSM_MAX_HOSTS && (host->lost[who / 64] >> (who % 64) & 1);
}

void dsm_count(struct dsm_host *host, uint32_t kind, uint64_t by);
void dsm_reply(struct dsm_host *host, uint64_t req, uint32_t status, uint64_t arg);

/* region.c */
struct dsm_region *dsm_region_find(const struct dsm_host *host, uint64_t id);
/* The page's record, made if needed; NULL: no such region or beyond its end. */
struct dsm_page *dsm_page_find(struct dsm_host *host, uint64_t id);
/* The record if it exists: NULL also for a page that is still as at the start. */
struct dsm_page *dsm_page_known(const struct dsm_host *host, const struct dsm_region *region,
                                uint32_t index);
struct dsm_page *dsm_page_there(const struct dsm_host *host, uint64_t id);
static inline bool dsm_at_home(const struct dsm_page *page) {
    return page->state >= DSM_HOME && page->state <= DSM_HOME_PRIVATE;
}

/* Its home was asked, or sent a diff, and has not answered: who that is is not forgotten meanwhile,
 * or its death would not be known to concern the page. (A FETCHING page that hears of another home
 * is asked for again.) */
static inline bool dsm_page_is_pending(const struct dsm_page *page) {
    bool diff = page->flags & DSM_UNACKED && !(page->flags & DSM_SEEKING);
    return diff || page->flags & (DSM_TAKING | DSM_HANDING);
}

/* Its home as far as this host knows. */
uint32_t dsm_page_home(const struct dsm_host *host, const struct dsm_region *region,
                       uint32_t index);
/* Memory that the records of these pages still need: asked for before a message is acted on. */
uint64_t dsm_page_room(const struct dsm_host *host, uint64_t id, uint32_t count);
int dsm_region_attach(struct dsm_host *host, const struct dsm_event *event);
/* Make it known here: pages of it are handed to this host. */
void dsm_region_want(struct dsm_host *host, uint64_t id);
int dsm_region_detach(struct dsm_host *host, const struct dsm_event *event);
int dsm_region_on_region(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_region_on_drop(struct dsm_host *host, struct dsm_cursor *cursor);
/* Is n x (page u64, count u16, home u16, epoch u32) sound, as far as the regions are known? */
bool dsm_page_runs_sound(const struct dsm_host *host, struct dsm_cursor cursor, uint32_t n);

/* page.c */
int dsm_page_fault(struct dsm_host *host, const struct dsm_event *event, bool write);
int dsm_page_on_page(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
/* Ask the home of absent pages for them. */
void dsm_page_get(struct dsm_host *host, struct dsm_page *first, uint32_t count, uint32_t channel);
void dsm_page_invalidate(struct dsm_host *host, struct dsm_page *page);
void dsm_page_owe(struct dsm_host *host, struct dsm_page *page, bool changed);
/* A page that was fetched or handed over is here: serve the threads parked on it. */
void dsm_page_serve(struct dsm_host *host, struct dsm_page *first, uint32_t count);
void dsm_page_fetch(struct dsm_host *host, struct dsm_page *page, int32_t reach);
/* Forget an invalidation that waits; false: none does. */
bool dsm_page_revalidate(struct dsm_host *host, struct dsm_page *page);
int dsm_page_on_moved(struct dsm_host *host, struct dsm_cursor *cursor);
/* Touching it ends the process: its only copy was lost. */
void dsm_page_poison(struct dsm_host *host, struct dsm_page *page);
void dsm_page_dirtied(struct dsm_host *host, struct dsm_page *page);
/* Act on one page more: joined with the action before it if that was about the page before. */
/* Let the client use them, and wake its threads that wait for them. */
void dsm_page_map(struct dsm_host *host, const struct dsm_page *first, uint32_t count,
                  uint32_t client, bool writable);
void dsm_page_wait(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write,
                   int32_t reach);
void dsm_page_act(struct dsm_host *host, uint32_t kind, const struct dsm_page *page);

/* flush.c */
/* Ask for a comparison; dsm_page_diffed goes on when the results of the step are all in. */
void dsm_page_compare(struct dsm_host *host, struct dsm_page *page, bool early, bool keep);
int dsm_page_diffed(struct dsm_host *host, const struct dsm_event *event);
/* Send the kept diff (again). */
void dsm_page_send_kept(struct dsm_host *host, struct dsm_page *page);
int dsm_page_on_dack(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
void dsm_page_acked(struct dsm_host *host, struct dsm_page *page);
int dsm_page_on_elsewhere(struct dsm_host *host, struct dsm_cursor *cursor);

/* home.c */
int dsm_page_on_get(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_page_on_diff(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
/* With fixed homes a page is at home here before anybody wrote it. */
void dsm_page_settle_in(struct dsm_host *host, struct dsm_page *page);

/* run.c */
/* A fault came: how many pages, from this one on, it may bring; negative: up to this one. */
int32_t dsm_run_reach(struct dsm_host *host, uint64_t id, bool write);
/* It brought (or asked for) the pages from `first` to before `end`. */
void dsm_run_brought(struct dsm_host *host, uint64_t first, uint64_t end);
/* Which pages of its chunk are within a page's reach. */
struct dsm_run dsm_run_reached(const struct dsm_host *host, const struct dsm_page *page,
                               int32_t reach);
/* At the end of a fault: ask for what its row will want next. */
void dsm_run_ahead(struct dsm_host *host, const struct dsm_region *region);
/* Pages are mapped, a page is thrown away: were they asked for ahead? */
void dsm_run_used(struct dsm_page *first, uint32_t count);
void dsm_run_unused(struct dsm_page *page);
/* How many of `length` pages from this one on lie in its chunk. */
uint32_t dsm_run_room(const struct dsm_host *host, const struct dsm_page *page, uint32_t length);
/* Was it written before each of the last publishes? Then a read of it will be followed by a write,
 * and a publish leaves it writable. */
bool dsm_run_is_hot(const struct dsm_host *host, const struct dsm_page *page);
/* First write of a page: make it dirty, and its likes beside it within its reach; which these are,
 * for the caller to map them writable. */
struct dsm_run dsm_run_open(struct dsm_host *host, struct dsm_page *page, int32_t reach);
/* If the page must be looked at before it is published: do it. */
bool dsm_run_look(struct dsm_host *host, struct dsm_page *page);
void dsm_run_looked(struct dsm_host *host, struct dsm_compared *result);
/* The second look at those of the first n results that need it. */
void dsm_run_look_again(struct dsm_host *host, uint32_t n);
void dsm_run_compared(struct dsm_page *page, bool written);
/* move.c */
/* May this host ask for the home of the page instead of sending the diff of `len` bytes? */
bool dsm_move_wanted(const struct dsm_host *host, const struct dsm_page *page, uint32_t len);
int dsm_move_on_take(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_move_on_taken(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_move_hand(struct dsm_host *host, const struct dsm_event *event);
int dsm_move_on_hand(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
/* Hand over pages that are at home here, n <= DSM_SLICE. */
void dsm_move_pages(struct dsm_host *host, uint64_t *pages, uint32_t n, uint32_t to);
/* The host that a page is being handed to is lost. */
void dsm_move_lost(struct dsm_host *host, struct dsm_page *page);
/* It will not take any of the pages that are being handed to it. */
void dsm_move_refused(struct dsm_host *host, uint32_t who);
int dsm_move_on_handed(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);

/* bound.c */
int dsm_bound_bind(struct dsm_host *host, const struct dsm_event *event);
/* Does the publish leave it writable? */
bool dsm_bound_keeps(const struct dsm_host *host, const struct dsm_page *page);
/* A diff of `len` bytes of it is kept: it is owed, and the notice may carry the diff. */
void dsm_bound_owe(struct dsm_host *host, struct dsm_page *page, uint32_t len);
/* The notice will not carry it after all. */
void dsm_bound_forget(struct dsm_host *host, struct dsm_page *page);
/* Compare a written page that is at home here, and has a twin. */
void dsm_bound_look(struct dsm_host *host, struct dsm_page *page);
void dsm_bound_looked(struct dsm_host *host, struct dsm_compared *result);
/* A queue of pages, by owed_next. */
struct dsm_owed {
    dsm_ref head, tail;
};
/* Take those whose diffs are carried out of the owed pages, and announce them: the last NOTICE. */
struct dsm_owed dsm_bound_owed(struct dsm_host *host);
void dsm_bound_announce(struct dsm_host *host, struct dsm_owed *owed);
int dsm_bound_on_updates(struct dsm_host *host, struct dsm_cursor *cursor);

/* feed.c */
/* A copy of this page, which is at home here, was given to `to`. */
void dsm_feed_given(struct dsm_host *host, struct dsm_page *page, uint32_t to);
void dsm_feed_publish(struct dsm_host *host); /* one begins */
/* It is announced without its bytes. */
void dsm_feed_noticed(struct dsm_host *host, struct dsm_page *page);
/* Is a twin kept when it is written at home? */
bool dsm_feed_twins(const struct dsm_host *host, const struct dsm_page *page);
/* Does the notice take its diff of `len` bytes along? Asked once a publish. */
bool dsm_feed_carries(struct dsm_host *host, struct dsm_page *page, uint32_t len);
/* For whom the bytes are; DSM_NO_HOST: for all. */
uint32_t dsm_feed_reader(const struct dsm_host *host, const struct dsm_page *page);

/* single.c */
void dsm_single_fault(struct dsm_host *host, struct dsm_page *page, uint32_t client, bool write);
void dsm_single_evicted(struct dsm_host *host, struct dsm_page *page);
void dsm_single_held(struct dsm_host *host); /* at EV_MORE */
void dsm_single_forget(struct dsm_host *host, uint32_t region);
int dsm_single_on_inv(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_give(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_own(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_none(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_copy(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_on_stranded(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_single_check(const struct dsm_page *page);

/* recover.c */
/* Ask the master where this page lives: its home is gone. */
void dsm_page_seek(struct dsm_host *host, struct dsm_page *page);
/* It needs not be sought any more. */
void dsm_page_sought(struct dsm_host *host, struct dsm_page *page);
void dsm_page_seek_send(struct dsm_host *host); /* at the end of a step */
int dsm_recover_on_ask(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_recover_on_cut(struct dsm_host *host, struct dsm_cursor *cursor);
void dsm_recover_is_cut(struct dsm_host *host, uint32_t who); /* and all is announced */
int dsm_recover_on_found(struct dsm_host *host, struct dsm_cursor *cursor);
/* A host is lost, or has left: nothing of it is heard from here on. */
void dsm_recover_host_lost(struct dsm_host *host, uint32_t who);

/* leave.c */
int dsm_leave_start(struct dsm_host *host, const struct dsm_event *event);
void dsm_leave_go_on(struct dsm_host *host); /* at the end of a step, and at EV_MORE */
int dsm_leave_on_bye(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
void dsm_leave_host_lost(struct dsm_host *host, uint32_t who);
/* A page has come to be at home here: a sweep that has passed it goes round once more. */
static inline void dsm_leave_found(struct dsm_host *host) {
    host->leave.found = 1;
}

/* Who refused this page for a diff of its own has sent it, or never will: it is offered again. */
void dsm_leave_came(struct dsm_host *host, struct dsm_page *page);

/* evict.c */
int dsm_evict_pages(struct dsm_host *host, const struct dsm_event *event);

/* publish.c */
/* A page at home here changed: it will be announced, and no copy of it is held any more. */
void dsm_publish_home_page(struct dsm_host *host, struct dsm_page *page);
/* A page at home here is about to be announced: how it is kept from then on. */
uint8_t dsm_publish_last(const struct dsm_host *host); /* of the last NOTICE */
void dsm_publish_rests(struct dsm_host *host, struct dsm_page *page);
/* A dirty page's turn: announce it, compare it, or claim it. */
void dsm_publish_look_at(struct dsm_host *host, struct dsm_page *page);
int dsm_publish_request(struct dsm_host *host, const struct dsm_event *event);
/* Do `job` as soon as all that was written before this call is announced. */
void dsm_publish_then(struct dsm_host *host, dsm_ref job);
int dsm_publish_on_claimed(struct dsm_host *host, struct dsm_cursor *cursor);
void dsm_publish_stamped(struct dsm_host *host, uint64_t stamp);
void dsm_publish_go_on(struct dsm_host *host); /* after each step: whatever can be done now */
void dsm_publish_slice(struct dsm_host *host); /* at EV_MORE */
bool dsm_publish_busy(const struct dsm_host *host);
uint64_t dsm_publish_out(const struct dsm_host *host);
void dsm_publish_tick(struct dsm_host *host);

/* observe.c */
int dsm_observe_request(struct dsm_host *host, const struct dsm_event *event);
int dsm_observe_on_notices(struct dsm_host *host, struct dsm_cursor *cursor);
void dsm_observe_tick(struct dsm_host *host);
/* For this host itself. */
void dsm_observe_up_to(struct dsm_host *host, uint64_t stamp);
/* A change of the page was announced: learn its home. NULL: nothing of it is here. */
struct dsm_page *dsm_observe_home(struct dsm_host *host, uint64_t id, uint32_t home,
                                  uint32_t epoch);
/* May the master say so? */
bool dsm_observe_possible(const struct dsm_host *host, uint64_t id, uint32_t home, uint32_t epoch);
void dsm_observe_gate(struct dsm_host *host,
                      struct dsm_job job); /* do it when invalidations are done */
void dsm_observe_gate_try(struct dsm_host *host);

/* homeless.c */
bool dsm_page_is_homeless(const struct dsm_host *host, const struct dsm_page *page);
/* Bring the copy of a homeless page up to date, then serve those who wait for it. */
void dsm_homeless_fetch(struct dsm_host *host, struct dsm_page *page);
/* Keep the diff that a comparison found. */
void dsm_homeless_keep(struct dsm_host *host, const struct dsm_page *page, const uint8_t *bytes,
                       uint32_t len);
uint64_t dsm_homeless_room(const struct dsm_host *host); /* for that, beside its bytes */
void dsm_homeless_close(struct dsm_host *host, struct dsm_page *page);
/* The newest interval of that host that was announced here. */
uint32_t dsm_homeless_told(const struct dsm_host *host, uint64_t page, uint32_t who);
/* May the copy be given up for want of memory? */
bool dsm_homeless_is_spare(const struct dsm_host *host, const struct dsm_page *page);
/* With which host was it lost? */
uint32_t dsm_homeless_culprit(const struct dsm_host *host, const struct dsm_page *page);
void dsm_homeless_forget(struct dsm_host *host, uint64_t page);
void dsm_homeless_host_lost(struct dsm_host *host, uint32_t who);
/* Where its base lives was asked, and is known, or that it is lost. */
void dsm_homeless_found(struct dsm_host *host, struct dsm_page *page);
int dsm_homeless_on_writers(struct dsm_host *host, struct dsm_cursor *cursor);
int dsm_homeless_on_want(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_homeless_on_diffs(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_homeless_on_want_base(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_homeless_on_base(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
/* Is an answer to its page awaited? For checks. */
bool dsm_homeless_asks(const struct dsm_host *host, const struct dsm_page *page);

/* collect.c */
void dsm_collect_go_on(struct dsm_host *host); /* at the end of a step */
/* Does another host wait for this copy to be brought up to date? */
bool dsm_collect_wants(const struct dsm_host *host, uint64_t page);
/* This host leaves, and `heir` is to be the page's base. */
void dsm_collect_adopt(struct dsm_host *host, struct dsm_page *page, uint32_t heir);
/* Is this host the base, and nobody asked to succeed it? */
bool dsm_collect_is_base(const struct dsm_host *host, const struct dsm_page *page);
void dsm_collect_host_lost(struct dsm_host *host, uint32_t who);
int dsm_collect_on_collect(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);
int dsm_collect_on_collected(struct dsm_host *host, uint32_t from, struct dsm_cursor *cursor);

/* lock.c */
int dsm_lock_open(struct dsm_host *host, const struct dsm_event *event);
int dsm_lock_acquire(struct dsm_host *host, const struct dsm_event *event);
int dsm_lock_unlock(struct dsm_host *host, const struct dsm_event *event);
int dsm_lock_worded(struct dsm_host *host, const struct dsm_event *event);
void dsm_lock_recalled(struct dsm_host *host, const struct dsm_job *job);
void dsm_lock_try_failed(struct dsm_host *host, uint64_t id);
void dsm_lock_owner_died(struct dsm_host *host, uint64_t id);
int dsm_lock_consistent(struct dsm_host *host, const struct dsm_event *event);
void dsm_lock_granted(struct dsm_host *host, const struct dsm_job *job);
void dsm_lock_take(struct dsm_host *host, uint64_t id); /* what was written before is announced */
void dsm_lock_release(struct dsm_host *host, dsm_ref job);
void dsm_lock_leave(struct dsm_host *host, uint64_t id); /* the publish before it is announced */
void dsm_lock_unlock_here(struct dsm_host *host, const struct dsm_job *job);
void dsm_lock_cancel(struct dsm_host *host, dsm_ref job);

/* call.c */
int dsm_call_request(struct dsm_host *host, const struct dsm_event *event);
void dsm_call_send(struct dsm_host *host, dsm_ref job); /* its publish is announced */
void dsm_call_returned(struct dsm_host *host, const struct dsm_job *job);
void dsm_call_cancel(struct dsm_host *host, dsm_ref job);

/* requests: a table of the jobs that a client waits for, by req */
dsm_ref dsm_job_new(struct dsm_host *host, struct dsm_job job);
void dsm_job_free(struct dsm_host *host, dsm_ref job);
/* Answer the job's request, unless it was cancelled, and free the job. */
void dsm_job_reply(struct dsm_host *host, dsm_ref job, uint32_t status, uint64_t arg);

#endif
