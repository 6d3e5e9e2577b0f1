#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "info_verify.h"
#include "json_out.h"
#include "session.h"
#include "text.h"

static const uint64_t context_lengths[] = {8192, 65536, 84000};
enum { N_CONTEXTS = sizeof context_lengths / sizeof context_lengths[0] };

/* The report is built once, as JSON, and written as that or as text. */
static void add_config(json_t *to, const quire_config *c)
{
    json_object_set_new(to, "d_model", json_integer(c->d_model));
    json_object_set_new(to, "n_heads", json_integer(c->n_heads));
    json_object_set_new(to, "kv_n_heads", json_integer(c->kv_n_heads));
    json_object_set_new(to, "head_dim", json_integer(c->head_dim));
    json_object_set_new(to, "n_layers", json_integer(c->n_layers));
    json_object_set_new(to, "d_ff", json_integer(c->d_ff));
    json_object_set_new(to, "expansion_ratio", json_finite((double)c->d_ff / c->d_model));
    json_object_set_new(to, "max_seq_len", json_integer(c->max_seq_len));
    json_object_set_new(to, "vocab_size", json_integer(c->vocab_size));
    json_object_set_new(to, "no_bias", json_boolean(c->no_bias));
    json_object_set_new(to, "alibi", json_boolean(c->alibi));
    json_object_set_new(to, "alibi_bias_max", json_finite((double)c->alibi_bias_max));
    json_object_set_new(to, "clip_qkv", json_finite((double)c->clip_qkv));
    json_object_set_new(to, "qk_ln", json_boolean(c->qk_ln));
    json_object_set_new(to, "softmax_scale", json_finite((double)c->softmax_scale));
    json_object_set_new(to, "logit_scale", json_finite((double)c->logit_scale));
    json_object_set_new(to, "learned_pos_emb", json_boolean(c->learned_pos_emb));
    json_object_set_new(to, "norm_type", json_string(c->norm_type == QUIRE_NORM_RMSNORM ? "rmsnorm" : "layernorm"));
    json_object_set_new(to, "norm_eps", json_finite((double)c->norm_eps));
    json_object_set_new(to, "tie_word_embeddings", json_boolean(c->tie_word_embeddings));
}

static json_t *types_json(const quire_model *model)
{
    json_t *types = json_object();
    for (int type = 0; type < QUIRE_DTYPE_COUNT; type++) {
        uint32_t n_tensors;
        uint64_t n_bytes;
        quire_model_type_totals(model, (quire_dtype)type, &n_tensors, &n_bytes);
        if (n_tensors > 0)
            json_object_set_new(types, quire_dtype_name((quire_dtype)type),
                                json_pack("{s:I,s:I}", "tensors", (json_int_t)n_tensors, "bytes", (json_int_t)n_bytes));
    }
    return types;
}

static json_t *tokenizer_json(const quire_tokenizer *tokenizer)
{
    uint32_t n_special = 0, n_tokens = quire_tokenizer_n_tokens(tokenizer);
    for (uint32_t id = 0; id < n_tokens; id++)
        n_special += quire_tokenizer_is_special(tokenizer, (int32_t)id);
    int32_t end = quire_tokenizer_end_of_text(tokenizer);
    json_t *to = json_object();
    json_object_set_new(to, "tokens", json_integer(n_tokens));
    json_object_set_new(to, "special_tokens", json_integer(n_special));
    json_object_set_new(to, "end_of_text", end >= 0 ? json_integer(end) : json_null());
    json_object_set_new(to, "tokenizer_fingerprint", json_string(quire_tokenizer_fingerprint(tokenizer)));
    return to;
}

static json_t *model_json(const struct session *s)
{
    const quire_model *model = s->model;
    const char *path = quire_model_path(model), *name = quire_model_name(model);
    json_t *to = json_object();
    json_object_set_new(to, "model", json_text(path, strlen(path)));
    json_object_set_new(to, "name", json_text(name, strlen(name)));
    json_object_set_new(to, "format", json_string(quire_model_format_name(model)));
    json_object_set_new(to, "parameters", json_integer((json_int_t)quire_model_n_parameters(model)));
    json_object_set_new(to, "tensors", json_integer(quire_model_n_tensors(model)));
    json_object_set_new(to, "bytes", json_integer((json_int_t)quire_model_weight_bytes(model)));
    json_object_set_new(to, "prompt_format", json_string(quire_prompt_format_name(quire_model_prompt_format(model))));
    json_object_set_new(to, "fingerprint", json_string(quire_model_fingerprint(model)));
    return to;
}

/* What reading and then continuing a text of each length takes; "problem" where it cannot be done. */
static json_t *needs_json(struct session *s)
{
    json_t *needs = json_array();
    for (size_t i = 0; i < N_CONTEXTS; i++) {
        quire_plan plan = {0};
        quire_error err = {0};
        quire_status status = quire_engine_plan(s->engine, context_lengths[i], s->o->max_tokens, &plan, &err);
        json_t *need = json_pack("{s:I}", "tokens", (json_int_t)context_lengths[i]);
        if (status == QUIRE_OK || status == QUIRE_ERR_NO_MEMORY) {
            json_object_set_new(need, "memory_bytes", json_integer((json_int_t)plan.memory_bytes));
            json_object_set_new(need, "least_memory_bytes", json_integer((json_int_t)plan.least_bytes));
            json_object_set_new(need, "disk_bytes", json_integer((json_int_t)(plan.disk_bytes + plan.flight_bytes)));
            json_object_set_new(need, "kv_disk_bytes", json_integer((json_int_t)plan.disk_bytes));
            json_object_set_new(need, "span_tokens", json_integer(plan.span_tokens));
        }
        if (status != QUIRE_OK)
            json_object_set_new(need, "problem", json_text(err.message, strlen(err.message)));
        json_array_append_new(needs, need);
    }
    return needs;
}

static quire_status write_section(struct output *output, const char *title, json_t *section, quire_error *err)
{
    quire_status status = output_print(output, err, "%s\n", title);
    for (void *i = json_object_iter(section); i && status == QUIRE_OK; i = json_object_iter_next(section, i))
        status = json_write_value(output, json_object_iter_key(i), json_object_iter_value(i), err);
    return status;
}

/* The field of a JSON object as a number of things, or of bytes. */
static const char *count_of(char buffer[TEXT_SIZE], const json_t *object, const char *field)
{
    return text_count(buffer, (uint64_t)json_integer_value(json_object_get(object, field)));
}

static const char *bytes_of(char buffer[TEXT_SIZE], const json_t *object, const char *field)
{
    return text_bytes(buffer, (uint64_t)json_integer_value(json_object_get(object, field)));
}

static quire_status write_types(struct output *output, json_t *types, quire_error *err)
{
    quire_status status = output_print(output, err, "\nTensors by type\n");
    for (void *i = json_object_iter(types); i && status == QUIRE_OK; i = json_object_iter_next(types, i)) {
        const json_t *type = json_object_iter_value(i);
        char count[TEXT_SIZE], bytes[TEXT_SIZE];
        status = output_print(output, err, "%-22s %s tensors, %s\n", json_object_iter_key(i),
                              count_of(count, type, "tensors"), bytes_of(bytes, type, "bytes"));
    }
    return status;
}

static quire_status write_needs(struct output *output, const json_t *needs, const char *kv_type, quire_error *err)
{
    quire_status status = output_print(output, err, "\nNeeds, with keys and values in %s\n%10s %12s %14s %12s %10s\n",
                                       kv_type, "tokens", "memory", "least memory", "disk", "span");
    for (size_t i = 0; i < json_array_size(needs) && status == QUIRE_OK; i++) {
        const json_t *need = json_array_get(needs, i);
        char tokens[TEXT_SIZE], memory[TEXT_SIZE], least[TEXT_SIZE], disk[TEXT_SIZE], span[TEXT_SIZE];
        count_of(tokens, need, "tokens");
        if (json_object_get(need, "memory_bytes"))
            status = output_print(output, err, "%10s %12s %14s %12s %10s\n", tokens,
                                  bytes_of(memory, need, "memory_bytes"), bytes_of(least, need, "least_memory_bytes"),
                                  bytes_of(disk, need, "disk_bytes"), count_of(span, need, "span_tokens"));
    }
    for (size_t i = 0; i < json_array_size(needs) && status == QUIRE_OK; i++) { /* under the table: they are long */
        const json_t *problem = json_object_get(json_array_get(needs, i), "problem");
        if (problem)
            status = output_print(output, err, "%s\n", json_string_value(problem));
    }
    return status;
}

static quire_status write_info(struct session *s, json_t *report, quire_error *err)
{
    struct output *output = &s->output;
    json_t *types = json_object_get(report, "types");
    quire_status status = write_section(output, "Model", json_object_get(report, "model"), err);
    if (status == QUIRE_OK)
        status = write_types(output, types, err);
    if (status == QUIRE_OK)
        status = write_section(output, "\nConfiguration", json_object_get(report, "configuration"), err);
    if (status == QUIRE_OK)
        status = write_section(output, "\nTokenizer", json_object_get(report, "tokenizer"), err);
    if (status == QUIRE_OK)
        status = write_needs(output, json_object_get(report, "needs"), s->o->kv_type, err);
    return status == QUIRE_OK ? output_flush(output, err) : status;
}

enum exit_code cmd_info(const struct options *o)
{
    struct session s = {0};
    const char *path = o->n_arguments > 0 ? o->arguments[0] : NULL;
    if (o->verify)
        return info_verify(o, path ? path : o->model);
    if (session_open(&s, o, path, NEED_ENGINE, false) != QUIRE_OK)
        return session_close(&s, session_end(&s, s.source));

    json_t *report = json_object(), *configuration = json_object();
    add_config(configuration, quire_model_config(s.model));
    json_object_set_new(report, "model", model_json(&s));
    json_object_set_new(report, "types", types_json(s.model));
    json_object_set_new(report, "configuration", configuration);
    json_object_set_new(report, "tokenizer", tokenizer_json(s.tokenizer));
    json_object_set_new(report, "needs", needs_json(&s));

    if (o->json)
        json_write(json_incref(report), &s.output, &s.error);
    else
        write_info(&s, report, &s.error);
    json_decref(report);
    return session_close(&s, session_end(&s, FROM_WORK));
}
