/* The engine: one thread, one epoll set, one protocol state. What its files stand on.
 *
 * All of it belongs to the engine's thread, except what the mutex guards and the counters. The
 * thread touches only sockets, its own memfds, userfaultfds, eventfds and pidfds, and never waits
 * on any of them but in epoll: a client may hold any other kernel lock while it waits for us
 * (trap "bulk work").
 */
#ifndef DSM_ENGINE_STATE_H
#define DSM_ENGINE_STATE_H
#include "core/core.h"
#include "engine/table.h"
#include "engine/store.h"
#include "include/dsmproc_api.h"
#include "sys/buffer.h"
#include "sys/control.h"
#include "sys/loop.h"
#include "sys/memory.h"
#include "sys/seal.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Kinds of struct dsm_source. */
enum {
    DSM_SOURCE_WAKE = 1,   /* commands wait */
    DSM_SOURCE_TIMER = 2,  /* the tick */
    DSM_SOURCE_PEER = 3,   /* in struct dsm_peer */
    DSM_SOURCE_CONN = 4,   /* in struct dsm_conn */
    DSM_SOURCE_FAULTS = 5, /* in struct dsm_client */
    DSM_SOURCE_LIFE = 6,   /* in struct dsm_client: its pidfd */
    DSM_SOURCE_BEAT = 7,   /* the heartbeat's timer */
    DSM_SOURCE_HOLD = 9,   /* pages were held long enough (host/single.c) */
};

/* A request's number is a counter << 16 | index of its connection. */
enum { DSM_REQ_INDEX_BITS = 16, DSM_REQ_NO_CONN = (1 << DSM_REQ_INDEX_BITS) - 1 };

struct dsm_peer {
    struct dsm_source source; /* fd < 0: not connected (yet, or any more) */
    uint32_t host, channel;
    bool lost;                         /* what is sent is thrown away until it is added again */
    bool fresh;                        /* frames were added since the last write */
    bool queued;                       /* in engine->queued */
    struct dsm_seal sealing, checking; /* of the frames that go out and come in */
    bool heard;                        /* bytes came since the last beat */
    uint32_t silent;                   /* beats since the last that came */
    struct dsm_buffer in, out;
};

struct dsm_client;

struct dsm_mapping {
    struct dsm_client *client;
    uint64_t address;
};

struct dsm_area {
    uint64_t id;
    uint64_t pages;
    struct dsm_memory memory;
    struct dsm_mapping *mappings; /* one per client that maps it */
    uint32_t count, room;
};

struct dsm_range {
    uint64_t address, bytes;
    struct dsm_area *area;
};

/* A process of this host. Freed when its last connection is, orphaned requests included. */
struct dsm_client {
    struct dsm_source faults, life;
    uint32_t slot, pid;
    uint32_t conns;
    bool gone;
    /* Where its faults come by mprotect (sys/segv.h; `faults` is the line then): */
    int acks;           /* < 0: they do not */
    bool mute, resting; /* not to be commanded any more; not while it stands still */
    uint64_t commands;
    struct dsm_range *ranges;
    uint32_t count, room;
    struct dsm_buffer attached; /* uint64_t: regions, mapped or not yet */
};

/* A client thread's connection: at most one request at a time. */
struct dsm_conn {
    struct dsm_source source;
    uint32_t index, pid;
    struct dsm_client *client;
    bool main, orphan, free;
    int passed; /* a descriptor that came with the request */
    struct dsm_buffer in;
    struct dsmproc_request request;
    uint64_t req;  /* 0: none is under way */
    bool answered; /* the answer below waits for the end of the step */
    uint32_t status;
    int reply_fd;
    uint64_t value;
    struct dsmproc_request acting; /* the BAR_WAIT whose action this thread runs (id 0: none) */
};

/* Events made while actions are executed, fed when the step and its results are done. */
struct dsm_later {
    struct dsm_event event;
    uint8_t bytes[24];
};

struct dsm_agent {
    struct dsm_store store;
    struct dsm_memory control_memory;
    struct dsm_control *control;
    struct dsm_table regions; /* id -> struct dsm_area */
    struct dsm_client *clients[DSM_MAX_CLIENTS];
    struct dsm_conn **conns;
    uint32_t nconns, conns_room;
    struct dsm_table locks; /* id -> slot */
    uint64_t *lock_ids;     /* slot -> id */
    uint32_t locks_room;
    uint64_t last_req, last_id;
    uint32_t answers;           /* connections whose answer is ready to be sent */
    struct dsm_buffer results;  /* struct dsm_event: results of COMPARE and TAKE, in order */
    struct dsm_buffer later;    /* struct dsm_later */
    struct dsm_buffer sink;     /* payload for peers that are lost */
    struct dsm_buffer unpacked; /* the message that is being read, if its pages came packed */
    bool more;                  /* the core asked for DSM_EV_MORE */
    uint64_t brought;           /* pages that came into memory since it was measured (limit.c) */
    bool full;                  /* homes alone pass the limit; said once */
    bool tight;                 /* little is left of it */
    uint64_t relief;            /* the publish that makes written pages copies; 0: none runs */
    bool relieved;              /* it is done */
    struct dsm_buffer held;     /* struct dsm_event: faults that wait for it */
    struct dsm_summary summary; /* of the step whose actions are being done */
};

/* Pages of a region in memory. */
struct dsm_pages {
    struct dsm_area *area;
    uint64_t offset, bytes;
    uint8_t *base;
};

struct dsmproc_engine {
    struct dsmproc_options options;
    int loop;
    uint64_t last_beat; /* ms, coarse */
    struct dsm_source wake, timer, beat, hold;
    pthread_t thread;
    /* From here to the mutex's end: any thread, under the mutex. */
    pthread_mutex_t mutex;
    struct dsm_buffer commands, notices;
    uint64_t given, done; /* commands */
    int refusal;          /* why the last refused one was (read when it is done) */
    pthread_cond_t settled;
    bool stopping;
    int notice_fd;
    _Atomic uint64_t stats[DSMPROC_STATS];
    _Atomic uint32_t nlocks;
    /* From here on the engine's thread only. */
    bool failed, garbage, ticking;
    bool refused;   /* the core refused the event just fed: the client's request makes no sense */
    bool malformed; /* the message being executed holds a diff that is none: drop its sender */
    struct dsm_peer peers[DSM_MAX_HOSTS + 1][2];      /* the master is the last */
    struct dsm_peer *queued[2 * (DSM_MAX_HOSTS + 1)]; /* those with something to write */
    uint32_t nqueued;
    struct dsmproc_spin spin;
    bool active; /* this turn did something that more may follow soon */
    struct dsm_out out;
    void *arena;
    uint64_t arena_bytes;
    struct dsm_host *host;
    struct dsm_master *master;
    struct dsm_agent agent;
};

static inline bool dsm_engine_is_agent(const struct dsmproc_engine *engine) {
    return engine->options.role == DSMPROC_AGENT;
}

#endif
