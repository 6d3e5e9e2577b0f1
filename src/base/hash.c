#include "hash.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <xxhash.h>

uint64_t hash64(const void *data, size_t n)
{
    return XXH3_64bits(data, n);
}

uint64_t hash64_seeded(const void *data, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, n, seed);
}

static uint64_t process_seed;

static void make_seed(void)
{
    struct timespec now;
    if (getrandom(&process_seed, sizeof process_seed, GRND_NONBLOCK) == sizeof process_seed)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now); /* early in a machine's life; better than a number that everybody knows */
    process_seed = hash64_seeded(&now, sizeof now, (uint64_t)(uintptr_t)&now);
}

uint64_t hash_seed(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_seed);
    return process_seed;
}

static void write_hex128(char hex[HASH_HEX_SIZE], XXH128_hash_t h)
{
    snprintf(hex, HASH_HEX_SIZE, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

bool hash_named_hex(char hex[HASH_HEX_SIZE], const char *name, const void *data, size_t n)
{
    if (strcmp(name, "xxh32") == 0)
        snprintf(hex, HASH_HEX_SIZE, "%08x", (unsigned)XXH32(data, n, 0));
    else if (strcmp(name, "xxh64") == 0)
        snprintf(hex, HASH_HEX_SIZE, "%016llx", (unsigned long long)XXH64(data, n, 0));
    else if (strcmp(name, "xxh3_64") == 0)
        snprintf(hex, HASH_HEX_SIZE, "%016llx", (unsigned long long)XXH3_64bits(data, n));
    else if (strcmp(name, "xxh3_128") == 0 || strcmp(name, "xxh128") == 0)
        write_hex128(hex, XXH3_128bits(data, n));
    else
        return false;
    return true;
}

hash_state *hash_open(void)
{
    XXH3_state_t *state = XXH3_createState();
    if (state)
        XXH3_128bits_reset(state);
    return (hash_state *)state;
}

void hash_add(hash_state *state, const void *data, size_t n)
{
    XXH3_128bits_update((XXH3_state_t *)state, data, n);
}

void hash_add_text(hash_state *state, const char *text)
{
    hash_add(state, text, strlen(text) + 1);
}

void hash_finish_hex(hash_state *state, char hex[HASH_HEX_SIZE])
{
    write_hex128(hex, XXH3_128bits_digest((XXH3_state_t *)state));
}

uint64_t hash_finish64(hash_state *state)
{
    return XXH3_64bits_digest((const XXH3_state_t *)state);
}

void hash_close(hash_state *state)
{
    XXH3_freeState((XXH3_state_t *)state);
}
