#include "sys/buffer.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 4096, KEPT_ROOM = 1 << 20 };

int dsm_buffer_reserve(struct dsm_buffer *buffer, size_t bytes) {
    if (buffer->room - buffer->tail >= bytes) return 0;
    size_t len = dsm_buffer_len(buffer);
    if (buffer->head > 0) {
        memmove(buffer->data, buffer->data + buffer->head, len);
        buffer->head = 0;
        buffer->tail = len;
        if (buffer->room - len >= bytes) return 0;
    }
    size_t room = buffer->room ? buffer->room : FIRST_ROOM;
    while (room - len < bytes)
        room *= 2;
    uint8_t *data = realloc(buffer->data, room);
    if (!data) return -ENOMEM;
    buffer->data = data;
    buffer->room = room;
    return 0;
}

int dsm_buffer_append(struct dsm_buffer *buffer, const void *bytes, size_t len) {
    int error = dsm_buffer_reserve(buffer, len);
    if (error) return error;
    if (len) memcpy(buffer->data + buffer->tail, bytes, len);
    buffer->tail += len;
    return 0;
}

void dsm_buffer_consume(struct dsm_buffer *buffer, size_t bytes) {
    buffer->head += bytes;
    if (buffer->head < buffer->tail) return;
    buffer->head = buffer->tail = 0;
    if (buffer->room > KEPT_ROOM) dsm_buffer_free(buffer);
}

void dsm_buffer_free(struct dsm_buffer *buffer) {
    free(buffer->data);
    memset(buffer, 0, sizeof *buffer);
}
