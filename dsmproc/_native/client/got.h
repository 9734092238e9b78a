/* Calls of other objects to functions of the C library, redirected to functions of ours: in the
 * tables of addresses by which a loaded object calls what another one defines.
 */
#ifndef DSM_CLIENT_GOT_H
#define DSM_CLIENT_GOT_H
#include <stddef.h>

struct dsm_hook {
    const char *name;
    void (*ours)(void);
};

/* In every object that is loaded now. Where nothing was loaded since the last time it is quick. The
 * hooks are the same each time, and this file's own may be among them. */
void dsm_got_redirect(const struct dsm_hook *hooks, size_t count);
/* A hook for dlsym: who loads an object calls it next, so that object's calls are redirected then;
 * and who asks for a function that is redirected gets ours. (A hook for dlopen would be taken for
 * the caller, whose path is searched.) */
void *dsm_got_dlsym(void *handle, const char *name);

#endif
