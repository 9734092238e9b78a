/* All that a host's part of the protocol knows: what its files stand on. */
#ifndef DSM_CORE_HOST_STATE_H
#define DSM_CORE_HOST_STATE_H
#include "core/arena.h"
#include "core/core.h"
#include "core/hosts.h"
#include "core/rules.h"
#include "core/wire.h"

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

/* A queue of pages, by owed_next. */
struct dsm_owed {
    dsm_ref head, tail;
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
    uint64_t heirs[DSM_HOST_WORDS];  /* bit set: may take pages */
    uint64_t silent[DSM_HOST_WORDS]; /* have not yet answered our BYE */
    uint64_t next;                   /* the page at which the sweep goes on */
    uint32_t state, last;            /* enum dsm_leave_state; the heir that was given some last */
    uint32_t found;                  /* the sweep has met pages that are at home here */
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
    struct dsm_queue ready;     /* jobs that waited for no more; empty between steps */

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
    uint64_t lost[DSM_HOST_WORDS]; /* bit set of hosts */
    uint32_t nseek;                /* pages of the WHERE being made */
    uint64_t seek[DSM_SLICE];
    uint32_t seeking, handing, awaited; /* pages with these flags */
    uint64_t leaving[DSM_HOST_WORDS];   /* other hosts that take nothing any more */
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
    return dsm_hosts_has(host->lost, who);
}

static inline bool dsm_at_home(const struct dsm_page *page) {
    return page->state >= DSM_HOME && page->state <= DSM_HOME_PRIVATE;
}

/* Its home was asked, or sent a diff, and has not answered: who that is is not forgotten meanwhile,
 * or its death would not be known to concern the page (FORWARD). A FETCHING page is asked for again
 * when a notice names another home; whatever else names one leaves it as it is. */
static inline bool dsm_page_is_pending(const struct dsm_page *page) {
    bool diff = page->flags & DSM_UNACKED && !(page->flags & DSM_SEEKING);
    return diff || page->flags & (DSM_TAKING | DSM_HANDING);
}

/* A page has come to be at home here: a sweep that has passed it goes round once more. */
static inline void dsm_leave_found(struct dsm_host *host) {
    host->leave.found = 1;
}

/* A host that leaves has no process that would go on too early, and does not wait for others. */
static inline uint8_t dsm_publish_last(const struct dsm_host *host) {
    return host->leave.state == DSM_STAYS ? 1 : 2;
}

#endif
