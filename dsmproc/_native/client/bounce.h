/* A private buffer through which a call passes what it would give to shared memory or take from it.
 * The system may then copy at any time, and a page that goes away meanwhile is fetched by the copy
 * that this process makes.
 */
#ifndef DSM_CLIENT_BOUNCE_H
#define DSM_CLIENT_BOUNCE_H
#include <stdbool.h>
#include <stddef.h>

enum { DSM_BOUNCE_PIECE = 256 << 10, DSM_BOUNCE_NEAR = 4096 };

struct dsm_bounce {
    void *bytes;
    size_t size;
    _Alignas(512) char near[DSM_BOUNCE_NEAR]; /* of small ones; aligned for O_DIRECT */
};

/* False, and errno: there is no memory. It may be asked for in a signal handler. */
bool dsm_bounce_open(struct dsm_bounce *bounce, size_t size);
/* Leaves errno; its argument is one, as pthread_cleanup_push wants it. */
void dsm_bounce_close(void *bounce);

#endif
