/* The decoders of messages: a few messages of arbitrary bytes to a host, or to a master, that is in
 * the middle of something.
 *
 * An input is u8 which world, then messages: from u8 (255: the master), length u16, bytes. Worlds are
 * what the kept inputs of the host's and the master's fuzzers come to, after a part of each; they
 * are made once and put back after every input, so that an input costs some microseconds. Each
 * message lies in a block of exactly its size, and all that drive.h says of steps is held.
 *
 * The files of those fuzzers are included for their `step`, which looks at every action. */
#define LLVMFuzzerTestOneInput fuzz_host
#define step host_step
#include "fuzz_host.c"
#undef LLVMFuzzerTestOneInput
#undef step
#define LLVMFuzzerTestOneInput fuzz_master
#define step master_step
int fuzz_master(const uint8_t *data, size_t size);
#include "fuzz_master.c"
#undef LLVMFuzzerTestOneInput
#undef step

#include <glob.h>
#include <stdio.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PARTS = 4, MOST_WORLDS = 250, MOST_MESSAGES = 8, FILE_BYTES = 1 << 16 };

struct world {
    bool master;
    struct drive drive;
    uint8_t *state;
    uint64_t used;
};

static struct world worlds[MOST_WORLDS];
static uint32_t nworlds;
static struct drive now; /* in one place: the state holds its address */

static int one(struct dsm_event event, bool master) {
    int status = drive_step(&now, event, master ? master_step : host_step);
    if (status == DSM_OK && master) assert(dsm_master_check(now.node) == 0);
    return status;
}

/* As the fuzzers whose inputs these are. */
static void replay(const uint8_t *data, size_t size, bool master) {
    struct dsm_config config = drive_config(master ? DSM_MASTER : 0);
    struct dsm_event event;
    drive_init(&now, data, size);
    now.node = master ? (void *)dsm_master_init(now.arena, ARENA, &config)
                      : (void *)dsm_host_init(now.arena, ARENA, &config);
    for (int i = 0; i < EVENTS && drive_next(&now, &event); i++) {
        if (master && event.kind == DSM_EV_REGION_MADE) event.arg &= 1023;
        if (!master && !is_ours(event.kind)) continue;
        if (!master && (event.kind == DSM_EV_ATTACH || event.kind == DSM_EV_DETACH)) event.id &= 15;
        if (!master) event.req = event.kind == DSM_EV_CANCEL ? event.arg : ++now.used_req;
        (void)one(event, master);
    }
}

static void make_world(const uint8_t *data, size_t size, bool master) {
    assert(nworlds < MOST_WORLDS);
    struct world *world = &worlds[nworlds++];
    replay(data, size, master);
    world->master = master;
    world->drive = now;
    world->used = arena_used(now.arena);
    world->state = malloc(world->used);
    memcpy(world->state, now.arena, world->used);
}

static void make_worlds(const char *pattern, bool master) {
    glob_t found;
    if (glob(pattern, 0, NULL, &found)) {
        fprintf(stderr, "no %s: start in the repository's folder\n", pattern);
        exit(1);
    }
    static uint8_t bytes[FILE_BYTES];
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "rb");
        assert(file);
        size_t size = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        for (size_t part = 1; part <= PARTS; part++)
            make_world(bytes, size * part / PARTS, master);
    }
    globfree(&found);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    make_worlds("tests/fuzz/corpus/host/seed*", false);
    make_worlds("tests/fuzz/corpus/master/seed*", true);
    return 0;
}

static void put_back(const struct world *world) {
    uint64_t grown = arena_used(now.arena);
    if (grown > world->used)
        memset((uint8_t *)now.arena + world->used, 0, grown - world->used);
    now = world->drive;
    memcpy(now.arena, world->state, world->used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    const struct world *world = &worlds[data[0] % nworlds];
    put_back(world);
    now.at = data + 1;
    now.end = data + size;
    for (int i = 0; i < MOST_MESSAGES && now.at < now.end; i++) {
        struct dsm_event event = {.kind = DSM_EV_MESSAGE, .host = (uint32_t)take(&now, 1)};
        if (event.host == 255) event.host = DSM_MASTER;
        uint64_t len = take(&now, 2), left = (uint64_t)(now.end - now.at);
        event.len = (uint32_t)(len < left ? len : left);
        event.bytes = now.at;
        now.at += event.len;
        (void)one(event, world->master);
    }
    return 0;
}
