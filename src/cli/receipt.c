#include "receipt.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "json_out.h"
#include "text.h"

/* For people and for programs. */
static const struct {
    const char *words;
    const char *code;
} endings[] = {
    [NOTHING_WRITTEN] = {"", ""},
    [ENDED_BY_LENGTH] = {"the limit of --max-tokens", "max_tokens"},
    [ENDED_BY_MODEL] = {"the model", "end_of_text"},
    [ENDED_BY_STOP] = {"a stop string", "stop"},
    [ENDED_BY_INTERRUPT] = {"a signal", "interrupt"},
    [ENDED_BY_OUTPUT] = {"the reader of the output, who closed it", "output_closed"},
    [ENDED_BY_ERROR] = {"an error", "error"},
};

uint64_t receipt_peak_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

void receipt_print_plan(struct session *s, const char *name, const quire_plan *plan)
{
    char tokens[TEXT_SIZE], memory[TEXT_SIZE], budget[TEXT_SIZE], disk[TEXT_SIZE], free_disk[TEXT_SIZE],
        time[TEXT_SIZE], guess[TEXT_SIZE + 48] = "";
    if (plan->seconds > 0)
        snprintf(guess, sizeof guess, ", roughly %s%s", text_time(time, plan->seconds),
                 s->store ? ", less if it was read before" : "");
    progress_note(&s->progress, "%s: %s; about %s of memory (budget %s), up to %s on disk (%s free)%s", name,
                  text_counted(tokens, plan->n_tokens, "token"), text_bytes(memory, plan->memory_bytes),
                  text_bytes(budget, plan->budget_bytes), text_bytes(disk, plan->disk_bytes + plan->flight_bytes),
                  text_bytes(free_disk, plan->free_bytes), guess);
    const quire_config *config = quire_model_config(s->model);
    if (plan->n_tokens + plan->n_new > config->max_seq_len)
        progress_detail(&s->progress,
                        "the text is longer than the %s tokens that the model was trained on; ALiBi reads on",
                        text_count(tokens, config->max_seq_len));
    progress_detail(&s->progress, "spans of %s tokens, chunks of %u; the least budget for this text is %s",
                    text_count(tokens, plan->span_tokens), plan->chunk_tokens, text_bytes(memory, plan->least_bytes));
    progress_detail(&s->progress,
                    "of the memory: weights %s, keys and values %s; on disk: keys and values %s, a span in flight %s",
                    text_bytes(memory, plan->weight_bytes), text_bytes(budget, plan->kv_bytes),
                    text_bytes(disk, plan->disk_bytes), text_bytes(free_disk, plan->flight_bytes));
}

void receipt_print_changes(struct session *s, const struct document *d)
{
    char name[DOCUMENT_NAME_SIZE], count[TEXT_SIZE], tokens[TEXT_SIZE];
    document_name(name, d);
    if (d->n_replaced > 0)
        progress_note(&s->progress, "%s: %s invalid part%s of the text replaced by U+FFFD (--lossy)", name,
                      text_count(count, d->n_replaced), d->n_replaced == 1 ? "" : "s");
    if (d->is_cut_short)
        progress_note(&s->progress, "%s: only the first %s tokens were read (--head)", name,
                      text_count(tokens, d->n_tokens));
    if (d->n_left_out > 0)
        progress_note(&s->progress, "%s: only the last %s tokens were read, %s before them left out (--tail)", name,
                      text_count(tokens, d->n_tokens), text_count(count, d->n_left_out));
}

/* "15,926 bytes, 4,102 tokens and 7 of the prompt"; without the bytes where --head ended the reading, since more of
 * them than those of the tokens have been read. */
static void describe_read(char *text, size_t size, const struct receipt *r)
{
    const struct document *d = r->document;
    char bytes[TEXT_SIZE], tokens[TEXT_SIZE], prompt[TEXT_SIZE];
    snprintf(text, size, "%s%s%s%s%s", d->is_cut_short ? "" : text_counted(bytes, d->n_bytes, "byte"),
             d->is_cut_short ? "" : ", ", text_counted(tokens, d->n_tokens, "token"), r->n_prompt > 0 ? " and " : "",
             r->n_prompt > 0 ? text_count(prompt, r->n_prompt) : "");
    if (r->n_prompt > 0)
        snprintf(text + strlen(text), size - strlen(text), " of the prompt");
}

void receipt_print(struct session *s, const struct receipt *r)
{
    const struct document *d = r->document;
    char name[DOCUMENT_NAME_SIZE], what[4 * TEXT_SIZE], a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
    uint64_t n_kept = r->n_reused + r->n_resumed, n_computed = d->n_tokens + r->n_prompt - n_kept;
    document_name(name, d);
    receipt_print_changes(s, d);
    describe_read(what, sizeof what, r);
    if (n_computed > 0)
        progress_note(&s->progress, "%s: %s, %s of them reused; read in %s (%s tokens/s)", name, what,
                      text_count(a, n_kept), text_time(b, r->read_seconds),
                      text_rate(c, (double)n_computed, r->read_seconds));
    else
        progress_note(&s->progress, "%s: %s, all of them reused", name, what);
    if (r->ending != NOTHING_WRITTEN && r->n_new == 0)
        progress_note(&s->progress, "wrote nothing, ended by %s", endings[r->ending].words);
    else if (r->ending != NOTHING_WRITTEN)
        progress_note(&s->progress, "wrote %s in %s (%s tokens/s), ended by %s", text_counted(a, r->n_new, "token"),
                      text_time(b, r->write_seconds), text_rate(c, (double)r->n_new, r->write_seconds),
                      endings[r->ending].words);
    if (r->n_drafted > 0)
        progress_detail(&s->progress, "%s computed ahead, %s of use", text_counted(a, r->n_drafted, "token"),
                        r->n_accepted > 0 ? text_count(b, r->n_accepted) : "none");
    if (r->n_blocks_met > 0)
        progress_detail(&s->progress, "attention left out %.1f %% of the blocks of keys and values",
                        100.0 * (double)r->n_blocks_skipped / (double)(r->n_blocks_met + r->n_blocks_skipped));
    text_bytes(a, receipt_peak_bytes());
    text_bytes(b, r->disk_bytes);
    if (s->store)
        progress_note(&s->progress, "peak memory %s; %s of keys and values added to %s", a, b, s->store);
    else
        progress_note(&s->progress, "peak memory %s; %s of keys and values in temporary files, now gone", a, b);
}

static json_t *paths_json(const struct document *d)
{
    if (d->n_paths == 1)
        return json_text(d->paths[0], strlen(d->paths[0]));
    json_t *paths = json_array();
    for (size_t i = 0; i < d->n_paths; i++)
        json_array_append_new(paths, json_text(d->paths[i], strlen(d->paths[i])));
    return paths;
}

static json_t *seconds_json(double seconds)
{
    return json_finite((double)(int64_t)(seconds * 1e6 + 0.5) / 1e6);
}

static json_t *plan_json(const quire_plan *plan)
{
    json_t *to = json_object();
    json_object_set_new(to, "memory_bytes", json_integer((json_int_t)plan->memory_bytes));
    json_object_set_new(to, "budget_bytes", json_integer((json_int_t)plan->budget_bytes));
    json_object_set_new(to, "weight_memory_bytes", json_integer((json_int_t)plan->weight_bytes));
    json_object_set_new(to, "kv_memory_bytes", json_integer((json_int_t)plan->kv_bytes));
    json_object_set_new(to, "span_tokens", json_integer(plan->span_tokens));
    json_object_set_new(to, "kv_disk_bytes", json_integer((json_int_t)plan->disk_bytes));
    json_object_set_new(to, "flight_disk_bytes", json_integer((json_int_t)plan->flight_bytes));
    json_object_set_new(to, "free_disk_bytes", json_integer((json_int_t)plan->free_bytes));
    json_object_set_new(to, "estimated_seconds", plan->seconds > 0 ? seconds_json(plan->seconds) : json_null());
    return to;
}

void receipt_add_json(json_t *object, const struct session *s, const struct receipt *r)
{
    const struct document *d = r->document;
    json_object_set_new(object, "document", paths_json(d));
    json_object_set_new(object, "bytes", json_integer((json_int_t)d->n_bytes));
    json_object_set_new(object, "replaced", json_integer((json_int_t)d->n_replaced));
    json_object_set_new(object, "tokens", json_integer((json_int_t)d->n_tokens));
    json_object_set_new(object, "cut_by_head", json_boolean(d->is_cut_short));
    json_object_set_new(object, "tokens_left_out_by_tail", json_integer((json_int_t)d->n_left_out));
    json_object_set_new(object, "prompt_tokens", json_integer((json_int_t)r->n_prompt));
    json_object_set_new(object, "plan", plan_json(&r->plan));
    json_object_set_new(object, "reused_tokens", json_integer((json_int_t)r->n_reused));
    json_object_set_new(object, "resumed_tokens", json_integer((json_int_t)r->n_resumed));
    json_object_set_new(object, "read_seconds", seconds_json(r->read_seconds));
    if (r->ending != NOTHING_WRITTEN) {
        json_object_set_new(object, "new_tokens", json_integer((json_int_t)r->n_new));
        json_object_set_new(object, "write_seconds", seconds_json(r->write_seconds));
        json_object_set_new(object, "drafted_tokens", json_integer((json_int_t)r->n_drafted));
        json_object_set_new(object, "accepted_tokens", json_integer((json_int_t)r->n_accepted));
        json_object_set_new(object, "ended_by", json_string(endings[r->ending].code));
    }
    json_object_set_new(object, "peak_memory_bytes", json_integer((json_int_t)receipt_peak_bytes()));
    json_object_set_new(object, "kv_bytes_written", json_integer((json_int_t)r->disk_bytes));
    json_object_set_new(object, "kv_blocks_met", json_integer((json_int_t)r->n_blocks_met));
    json_object_set_new(object, "kv_blocks_skipped", json_integer((json_int_t)r->n_blocks_skipped));
    json_object_set_new(object, "store", s->store ? json_text(s->store, strlen(s->store)) : json_null());
    json_object_set_new(object, "model", json_text(s->model_path, strlen(s->model_path)));
    json_object_set_new(object, "model_fingerprint", json_string(quire_model_fingerprint(s->model)));
}
