/* All that the master knows of the protocol: what its files stand on.
 *
 * Invariant T (told): before the master says anything to a host that lets a process there go on
 * (PUBLISHED, OBSERVED, GRANT, RET, UNLOCK), it names all pages that changed since it last told
 * that host: dsm_tell. Messages to one host stay in order, so `told` is what the host has seen
 * when it acts on them. (GRANT names less under EC and SCC.)
 */
#ifndef DSM_CORE_MASTER_STATE_H
#define DSM_CORE_MASTER_STATE_H
#include "core/arena.h"
#include "core/core.h"
#include "core/hosts.h"
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

/* A version's `lock` of a page that is bound to several (entry.c). */
static const dsm_ref DSM_SHARED = UINT32_MAX;

struct dsm_mregion {
    dsm_ref next;
    uint32_t id, pages;
    uint16_t hosts;
    uint8_t policy, unlinked;
    uint32_t nchunks;
    dsm_ref chunks;
    uint64_t attached[DSM_HOST_WORDS];
    uint64_t known[DSM_HOST_WORDS];   /* hosts that keep its pages, attached or not */
    uint64_t unready[DSM_HOST_WORDS]; /* homes that have not yet heard of it */
    struct dsm_queue askers;          /* attaches that wait for them */
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
    uint64_t askers[DSM_HOST_WORDS];
    uint64_t silent[DSM_HOST_WORDS]; /* asked, and have not answered */
    uint64_t copies[DSM_HOST_WORDS];
    uint64_t applied[DSM_HOST_WORDS];
    uint32_t round; /* of the question */
    uint32_t prior; /* the newest epoch known of when they were asked */
    uint32_t home_epoch;
    uint16_t home, at_home; /* at_home: a host that says it is, at home_epoch */
    uint8_t asked, coming;  /* coming: the host `home` waits for the page to come */
    uint8_t again;          /* a host was lost meanwhile: ask once more */
    uint8_t unused;
};

struct dsm_cut { /* of master->cuts */
    dsm_ref next;
    uint32_t host;
    uint64_t silent[DSM_HOST_WORDS]; /* have not said that they hear it no more */
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
    uint64_t came[DSM_HOST_WORDS]; /* barrier: hosts that have waited in it */
    uint8_t died;                  /* lock: as in struct dsm_lock */
    uint8_t unused[7];
};

struct dsm_master {
    struct dsm_arena arena; /* first */
    struct dsm_config config;
    uint64_t log; /* the last stamp */
    uint64_t told[DSM_MAX_HOSTS];
    uint32_t intervals[DSM_MAX_HOSTS]; /* publishes of each host */
    uint64_t joined[DSM_HOST_WORDS];
    dsm_ref newest; /* of struct dsm_version */
    struct dsm_map regions, objects;
    dsm_ref region_list, object_list;
    uint64_t gone[DSM_HOST_WORDS]; /* hosts that were here and are not any more */
    uint64_t left[DSM_HOST_WORDS]; /* hosts that have handed over all that they had */
    struct dsm_map searches;       /* by page */
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

struct dsm_told { /* a WRITERS message being made */
    uint32_t message, n_at, n;
};

/* An UPDATES message being written (n = 0: none is). */
struct dsm_updates {
    uint32_t message, n_at, n;
};

struct dsm_call {
    uint32_t host, op;
    uint64_t req, id, a, b, c;
};

#endif
