/* Regular files by io_uring: several reads in flight on registered buffers.
 *
 * The file is cut into parts of one buffer each; part p is read into slot p % n_slots, so that the slots, taken in turn
 * from `head`, hold the parts in file order whatever order the reads complete in. There is one slot more than reads in
 * flight: the one whose bytes the caller holds. What the file has behind the size that it told, the plain twin reads.
 *
 * Invariants: a slot has at most one read prepared or in flight; n_pending counts them, so the ring, which has an entry
 * for every slot, is never full. Memory is freed only when the kernel holds none of it. */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "reader/reader_source.h"

/* Readers have one slot more than reads in flight. */
enum { RING_ENTRIES = 5 };

struct quire_reader_ring {
    struct io_uring ring;
    bool is_used;   /* by a reader */
    bool is_broken; /* reads were left in it: it is not used again */
};

struct slot {
    unsigned char *data;
    int64_t offset;  /* of the part in the file */
    size_t n_wanted; /* bytes of the part; 0: past the end */
    size_t n_read;   /* of them so far */
    int error;       /* errno of a read that failed, or 0 */
    bool is_reading;
    struct iovec vector; /* the rest of the part, for reads on unregistered buffers; old kernels look at it late */
};

struct uring_source {
    struct reader_source source;
    struct reader_input *input;
    struct io_uring *ring; /* own_ring, or that of the caller's */
    struct io_uring own_ring;
    bool is_registered;
    unsigned char *memory; /* n_slots x stride; a slot's data begins READER_HEADROOM into its stride */
    int64_t next_offset;   /* of the first part that no read was asked for */
    size_t buffer_bytes;
    uint32_t n_pending;
    uint32_t head;
    bool is_head_held; /* by the caller */
    uint32_t n_slots;
    struct slot slots[];
};

/* Prepares a read of what is left of the slot's part. */
static void prepare(struct uring_source *self, struct slot *slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(self->ring);
    assert(sqe);
    slot->vector = (struct iovec){.iov_base = slot->data + slot->n_read, .iov_len = slot->n_wanted - slot->n_read};
    __u64 offset = (__u64)slot->offset + slot->n_read;
    if (self->is_registered)
        io_uring_prep_read_fixed(sqe, self->input->fd, slot->vector.iov_base, (unsigned)slot->vector.iov_len, offset,
                                 (int)(slot - self->slots));
    else
        io_uring_prep_readv(sqe, self->input->fd, &slot->vector, 1, offset);
    io_uring_sqe_set_data(sqe, slot);
    slot->is_reading = true;
    self->n_pending++;
}

/* Gives the slot the next part of the file, where there is one. */
static void read_next_part(struct uring_source *self, struct slot *slot)
{
    slot->offset = self->next_offset;
    int64_t n_left = self->input->end - self->next_offset;
    slot->n_wanted = n_left > 0 ? size_min(self->buffer_bytes, (size_t)n_left) : 0;
    slot->n_read = 0;
    slot->error = 0;
    self->next_offset += (int64_t)slot->n_wanted;
    if (slot->n_wanted > 0)
        prepare(self, slot);
}

static uint32_t n_in_kernel(const struct uring_source *self)
{
    return self->n_pending - io_uring_sq_ready(self->ring);
}

/* Waits for one completion and notes what it brought; what is left after a short read is prepared again. Returns 0 or
 * an errno value. */
static int reap(struct uring_source *self)
{
    struct io_uring_cqe *completion;
    int rc = sys.uring_wait(self->ring, &completion);
    if (rc < 0)
        return -rc;
    struct slot *slot = io_uring_cqe_get_data(completion);
    int result = completion->res;
    io_uring_cqe_seen(self->ring, completion);
    self->n_pending--;
    slot->is_reading = false;
    if (result > 0)
        slot->n_read += (size_t)result;
    else
        slot->error = -result;
    if (slot->error == EINTR || (result > 0 && slot->n_read < slot->n_wanted)) {
        slot->error = 0;
        prepare(self, slot);
    }
    return 0;
}

/* Hands prepared reads to the kernel. Returns 0 or an errno value. */
static int submit(struct uring_source *self)
{
    while (io_uring_sq_ready(self->ring) > 0) {
        int rc = sys.uring_submit(self->ring);
        if (rc > 0)
            continue;
        /* EAGAIN, EBUSY: the kernel is short of room for reads; one that completes gives some back. */
        bool is_short = rc == 0 || rc == -EAGAIN || rc == -EBUSY;
        if (!is_short || n_in_kernel(self) == 0)
            return rc == 0 ? EAGAIN : -rc;
        int code = reap(self);
        if (code != 0)
            return code;
    }
    return 0;
}

/* Submits, and waits until the slot's read is done. */
static quire_status finish(struct uring_source *self, struct slot *slot, quire_error *err)
{
    for (;;) {
        int code = submit(self);
        if (code == 0 && !slot->is_reading)
            return QUIRE_OK;
        if (code == 0)
            code = reap(self);
        if (code != 0 && code != EINTR)
            return reader_fail_read(self->input, slot->offset + (int64_t)slot->n_read, code, err);
        if (atomic_load(&self->input->is_cancelled))
            return reader_fail_cancelled(self->input, err);
    }
}

/* A read that io_uring cannot do for this file, or not without blocking, where pread can. */
static bool is_for_pread(int code)
{
    return code == 0 || code == EAGAIN || code == EINVAL || code == EOPNOTSUPP;
}

static quire_status uring_next(struct reader_source *source, unsigned char **bytes, size_t *n_bytes, quire_error *err)
{
    struct uring_source *self = (struct uring_source *)source;
    if (self->is_head_held) {
        read_next_part(self, &self->slots[self->head]);
        self->head = (self->head + 1) % self->n_slots;
    }
    self->is_head_held = true;
    struct slot *slot = &self->slots[self->head];
    quire_status status = finish(self, slot, err);
    if (status == QUIRE_OK && slot->n_wanted == 0) {
        status = reader_fill(self->input, slot->data, self->buffer_bytes, self->next_offset, &slot->n_read, err);
        self->next_offset += (int64_t)slot->n_read;
    } else if (status == QUIRE_OK && slot->n_read < slot->n_wanted) {
        /* The file ends here (no bytes and no error), or pread has to do it; both are for the plain twin to say. */
        int64_t offset = slot->offset + (int64_t)slot->n_read;
        size_t n_rest = 0;
        status = is_for_pread(slot->error) ? reader_fill(self->input, slot->data + slot->n_read,
                                                         slot->n_wanted - slot->n_read, offset, &n_rest, err)
                                           : reader_fail_read(self->input, offset, slot->error, err);
        slot->n_read += n_rest;
    }
    if (status != QUIRE_OK)
        return status;
    *bytes = slot->data;
    *n_bytes = slot->n_read;
    return QUIRE_OK;
}

/* The caller's ring, where there is one that this reader can use, else one of its own. Returns 0 or -errno. */
static int open_ring(struct uring_source *self)
{
    quire_reader_ring *ring = self->input->ring;
    if (ring && !ring->is_used && !ring->is_broken && self->n_slots <= RING_ENTRIES) {
        ring->is_used = true;
        self->ring = &ring->ring;
        return 0;
    }
    self->ring = &self->own_ring;
    return sys.uring_open(self->ring, self->n_slots);
}

static void close_ring(struct uring_source *self, bool is_drained)
{
    quire_reader_ring *ring = self->input->ring;
    /* The ring is torn down behind our back after queue_exit; the locked memory is wanted back now, since a limit on it
     * would meet the next reader. */
    if (self->is_registered)
        io_uring_unregister_buffers(self->ring);
    if (self->ring == &self->own_ring) {
        io_uring_queue_exit(self->ring);
    } else {
        ring->is_used = false;
        ring->is_broken = self->n_pending > 0 || !is_drained;
    }
}

static void uring_close(struct reader_source *source)
{
    struct uring_source *self = (struct uring_source *)source;
    if (self->ring != &self->own_ring)
        submit(self); /* what was prepared would be left to the next reader */
    /* Reads of regular files complete by themselves. Any signal may interrupt the wait, not only a cancelling one. */
    int code = 0;
    while (n_in_kernel(self) > 0 && (code == 0 || code == EINTR))
        code = reap(self);
    bool is_drained = n_in_kernel(self) == 0;
    close_ring(self, is_drained);
    if (is_drained) /* otherwise a leak is the lesser evil: the kernel may still write there */
        free(self->memory);
    free(self);
}

static void register_buffers(struct uring_source *self)
{
    struct iovec *vectors = calloc(self->n_slots, sizeof *vectors);
    int rc = -ENOMEM;
    if (vectors) {
        for (uint32_t i = 0; i < self->n_slots; i++)
            vectors[i] = (struct iovec){.iov_base = self->slots[i].data, .iov_len = self->buffer_bytes};
        rc = sys.uring_register(self->ring, vectors, self->n_slots);
        free(vectors);
    }
    self->is_registered = rc == 0;
    if (rc != 0)
        snprintf(self->source.name, sizeof self->source.name, "io_uring (buffers not registered: %s)", strerror(-rc));
}

/* Allocates all but the ring. */
static quire_status allocate(struct uring_source **out, struct reader_input *input, quire_error *err)
{
    size_t n_bytes = size_max((size_t)(input->end - input->start), 1), buffer_bytes = reader_buffer_bytes(input);
    size_t stride = READER_HEADROOM + size_round_up(buffer_bytes, 64);
    uint32_t n_slots = (uint32_t)size_min((size_t)input->n_in_flight + 1, (n_bytes - 1) / buffer_bytes + 1);
    struct uring_source *self = mem_calloc(1, sizeof *self + n_slots * sizeof self->slots[0], "a reader", err);
    if (!self)
        return QUIRE_ERR_NO_MEMORY;
    *self = (struct uring_source){
        .source = {.name = "io_uring", .next = uring_next, .close = uring_close},
        .input = input,
        .memory = mem_aligned(n_slots, stride, "a reader's buffers", err),
        .next_offset = input->start,
        .buffer_bytes = buffer_bytes,
        .n_slots = n_slots,
    };
    if (!self->memory) {
        free(self);
        return QUIRE_ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n_slots; i++)
        self->slots[i].data = self->memory + i * stride + READER_HEADROOM;
    *out = self;
    return QUIRE_OK;
}

quire_status reader_uring_open(struct reader_source **out, struct reader_input *input, quire_error *err)
{
    struct uring_source *self;
    quire_status status = allocate(&self, input, err);
    if (status != QUIRE_OK)
        return status;
    int rc = open_ring(self);
    if (rc < 0) {
        free(self->memory);
        free(self);
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "%s", strerror(-rc));
    }
    register_buffers(self);
    for (uint32_t i = 0; i < self->n_slots; i++)
        read_next_part(self, &self->slots[i]);
    /* A filter may allow making a ring and refuse using it: found out here, while there is a way back. */
    int code = submit(self);
    if (code != 0 && code != EINTR) {
        quire_fail(err, QUIRE_ERR_UNSUPPORTED, "%s", strerror(code));
        uring_close(&self->source);
        return QUIRE_ERR_UNSUPPORTED;
    }
    *out = &self->source;
    return QUIRE_OK;
}

quire_status quire_reader_ring_open(quire_reader_ring **out, quire_error *err)
{
    quire_reader_ring *ring = mem_calloc(1, sizeof *ring, "a reader's ring", err);
    if (!ring)
        return QUIRE_ERR_NO_MEMORY;
    int rc = sys.uring_open_for_reads(&ring->ring, RING_ENTRIES);
    if (rc < 0) {
        free(ring);
        return quire_fail(err, QUIRE_ERR_UNSUPPORTED, "an io_uring that can only read is refused: %s", strerror(-rc));
    }
    *out = ring;
    return QUIRE_OK;
}

void quire_reader_ring_close(quire_reader_ring *ring)
{
    if (!ring)
        return;
    io_uring_queue_exit(&ring->ring);
    free(ring);
}
