/* A growing queue of bytes (appended at the tail, consumed at the head), and little-endian access.
 *
 * Used for everything that waits to be sent or to be complete. Memory is given back when a large
 * queue runs empty. Errors: -ENOMEM, and the buffer is unchanged.
 */
#ifndef DSM_SYS_BUFFER_H
#define DSM_SYS_BUFFER_H
#include <stddef.h>
#include <stdint.h>

struct dsm_buffer {
    uint8_t *data;
    size_t head, tail, room;
};

/* Make sure that `bytes` can be written at dsm_buffer_tail without growing. */
int dsm_buffer_reserve(struct dsm_buffer *buffer, size_t bytes);
int dsm_buffer_append(struct dsm_buffer *buffer, const void *bytes, size_t len);
void dsm_buffer_consume(struct dsm_buffer *buffer, size_t bytes);
void dsm_buffer_free(struct dsm_buffer *buffer);

static inline size_t dsm_buffer_len(const struct dsm_buffer *buffer) {
    return buffer->tail - buffer->head;
}

static inline void dsm_put_le32(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static inline void dsm_put_le64(uint8_t *at, uint64_t value) {
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static inline uint32_t dsm_get_le32(const uint8_t *at) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value |= (uint32_t)at[i] << (8 * i);
    return value;
}

static inline uint64_t dsm_get_le64(const uint8_t *at) {
    return (uint64_t)dsm_get_le32(at) | (uint64_t)dsm_get_le32(at + 4) << 32;
}

#endif
