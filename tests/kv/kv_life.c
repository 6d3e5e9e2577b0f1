#include "kv_life.h"

#include "kv_test.h"

/* From the book's frontier to the end of the text. */
static quire_status read_text(struct kv_book *book, const struct kv_geometry *geometry, const int32_t *text,
                              void (*committed)(size_t frontier), quire_error *err)
{
    size_t frontier = kv_book_frontier(book);
    float logits[KV_TEST_LOGITS], residual[50] = {0};
    quire_status status = QUIRE_OK;
    if (frontier < LIFE_MIDDLE) {
        status = kv_test_put(book, geometry, text, frontier, LIFE_MIDDLE - frontier, err);
        if (status == QUIRE_OK)
            status = kv_book_commit(book, text, LIFE_MIDDLE, NULL, 0, err);
        if (status == QUIRE_OK && committed)
            committed(LIFE_MIDDLE);
        frontier = LIFE_MIDDLE;
    }
    if (status != QUIRE_OK || frontier == LIFE_END)
        return status;
    struct kv_flight flight = {.span_first = frontier, .span_end = LIFE_END, .layer = 1, .kv_token = frontier};
    struct kv_flight found;
    bool is_found;
    status = kv_book_flight(book, &found, &is_found);
    if (status == QUIRE_OK && is_found)
        status = kv_book_load_residual(book, residual, sizeof residual, err);
    if (status == QUIRE_OK && !is_found)
        status = kv_test_put_layer(book, geometry, 0, text, frontier, LIFE_END - frontier, err);
    if (status == QUIRE_OK && !is_found)
        status = kv_book_save_flight(book, text, LIFE_END, &flight, residual, sizeof residual, err);
    if (status == QUIRE_OK)
        status = kv_test_put_layer(book, geometry, 1, text, frontier, LIFE_END - frontier, err);
    kv_test_logits(logits, text, LIFE_END);
    if (status == QUIRE_OK)
        status = kv_book_commit(book, text, LIFE_END, logits, KV_TEST_LOGITS, err);
    if (status == QUIRE_OK && committed)
        committed(LIFE_END);
    return status;
}

quire_status live(const char *folder, const struct kv_geometry *geometry, const int32_t *text, const int32_t *other,
                  void (*committed)(size_t frontier), quire_error *err)
{
    struct kv_store *store = NULL;
    struct kv_book *book = NULL, *branch = NULL;
    struct kv_store_options options = {
        .path = folder, .spill_path = "/tmp", .geometry = *geometry, .identity = KV_TEST_IDENTITY};
    quire_status status = kv_store_open(&store, &options, err);
    if (status == QUIRE_OK)
        status = kv_book_open(&book, store, text, LIFE_END, false, err);
    if (status == QUIRE_OK) {
        status = read_text(book, geometry, text, committed, err);
        if (status == QUIRE_OK)
            status = kv_book_branch(&branch, book, 100, err);
        if (status == QUIRE_OK && !kv_test_holds(branch, geometry, text, LIFE_END))
            status = quire_fail(err, QUIRE_ERR_NUMERIC, "the branch holds something else");
        kv_book_close(branch);
        kv_book_close(book);
    }
    if (status == QUIRE_OK) {
        status = kv_test_read(&book, store, geometry, other, LIFE_END, NULL, err);
        if (status == QUIRE_OK)
            kv_book_close(book);
    }
    kv_store_close(store);
    return status;
}
