/* The results are built once, as JSON, and written as that, as CSV (an object of a list is a line) or as a table. */
#include "bench_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "json_out.h"
#include "text.h"

/* --- as JSON ----------------------------------------------------------------------------------------------------- */

/* null where there is nothing to divide by, or nothing was measured. */
static json_t *ratio(double a, double b)
{
    return a > 0 && b > 0 ? json_finite(a / b) : json_null();
}

static json_t *peak_json(const char *what, const char *kernels, const char *factors, double per_second)
{
    return json_pack("{s:s,s:s,s:s,s:o}", "what", what, "kernels", kernels, "factors", factors, "per_second",
                     json_finite(per_second));
}

static json_t *peaks_json(const quire_peaks *peaks)
{
    json_t *list = json_array();
    for (size_t i = 0; i < peaks->n_units; i++)
        json_array_append_new(
            list, peak_json("operations", peaks->units[i].isa, peaks->units[i].factors, peaks->units[i].flops));
    const struct {
        const char *what;
        double per_second;
    } bytes[] = {{"memory_read_bytes", peaks->memory_read},
                 {"disk_read_bytes", peaks->disk_read},
                 {"disk_write_bytes", peaks->disk_write}};
    for (size_t i = 0; i < sizeof bytes / sizeof bytes[0]; i++)
        if (bytes[i].per_second > 0)
            json_array_append_new(list, peak_json(bytes[i].what, "", "", bytes[i].per_second));
    return list;
}

static json_t *run_json(const struct session *s)
{
    const char *name = quire_model_name(s->model);
    return json_pack("{s:s,s:o,s:s,s:i,s:s}", "program", "quire " QUIRE_VERSION, "model", json_text(name, strlen(name)),
                     "kernels", quire_engine_isa(s->engine), "threads", (int)quire_engine_n_threads(s->engine),
                     "kv_type", s->o->kv_type);
}

static json_t *row_json(const struct bench_row *row, double flops, double memory_read)
{
    json_t *to = json_object();
    double read = row->read_seconds, decode = row->decode_seconds;
    json_object_set_new(to, "context", json_integer((json_int_t)row->context));
    json_object_set_new(to, "read_tokens", json_integer((json_int_t)row->n_read));
    json_object_set_new(to, "read_seconds", json_finite(read));
    json_object_set_new(to, "read_per_second", ratio((double)row->n_read, read));
    json_object_set_new(to, "read_share", ratio(row->read_operations, read * flops));
    json_object_set_new(to, "decode_tokens", json_integer((json_int_t)row->n_decoded));
    json_object_set_new(to, "decode_per_second", ratio(1, decode));
    json_object_set_new(to, "decode_share", ratio(row->decode_bytes, decode * memory_read));
    uint64_t n_blocks = row->n_blocks_met + row->n_blocks_left_out;
    json_object_set_new(to, "kv_left_out",
                        n_blocks > 0 ? json_finite((double)row->n_blocks_left_out / (double)n_blocks) : json_null());
    json_object_set_new(to, "resident_bytes", json_integer((json_int_t)row->resident_bytes));
    return to;
}

/* --- as CSV ------------------------------------------------------------------------------------------------------ */

static quire_status write_csv_text(struct output *output, const char *text, quire_error *err)
{
    const char *quote = strpbrk(text, ",\"\r\n") ? "\"" : "";
    quire_status status = output_print(output, err, "%s", quote);
    while (*text && status == QUIRE_OK) {
        size_t n = strcspn(text, "\"");
        status = output_print(output, err, "%.*s%s", (int)n, text, text[n] ? "\"\"" : "");
        text += n + (text[n] != '\0');
    }
    return status == QUIRE_OK ? output_print(output, err, "%s", quote) : status;
}

static quire_status write_csv_value(struct output *output, const json_t *value, quire_error *err)
{
    switch (json_typeof(value)) {
    case JSON_STRING: return write_csv_text(output, json_string_value(value), err);
    case JSON_INTEGER: return output_print(output, err, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_REAL: return output_print(output, err, "%.6g", json_real_value(value));
    default: return QUIRE_OK; /* null is an empty field */
    }
}

/* A line of the object's names or of its values. */
static quire_status write_csv_line(struct output *output, json_t *object, bool is_names, quire_error *err)
{
    quire_status status = QUIRE_OK;
    const char *comma = "";
    for (void *i = json_object_iter(object); i && status == QUIRE_OK; i = json_object_iter_next(object, i)) {
        status = output_print(output, err, "%s", comma);
        if (status == QUIRE_OK)
            status = is_names ? write_csv_text(output, json_object_iter_key(i), err)
                              : write_csv_value(output, json_object_iter_value(i), err);
        comma = ",";
    }
    return status == QUIRE_OK ? output_print(output, err, "\n") : status;
}

/* run: what stands in front of each line; NULL: nothing. */
static quire_status write_csv(struct output *output, json_t *list, json_t *run, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < json_array_size(list) && status == QUIRE_OK; i++) {
        json_t *line = run ? json_copy(run) : json_object();
        json_object_update(line, json_array_get(list, i));
        if (i == 0)
            status = write_csv_line(output, line, true, err);
        if (status == QUIRE_OK)
            status = write_csv_line(output, line, false, err);
        json_decref(line);
    }
    return status;
}

/* --- as a table -------------------------------------------------------------------------------------------------- */

static quire_status write_peaks_text(struct output *output, const quire_peaks *peaks, quire_error *err)
{
    quire_status status = QUIRE_OK;
    for (size_t i = 0; i < peaks->n_units && status == QUIRE_OK; i++)
        status = output_print(output, err, "%-12s %9.1f GFLOP/s, %s products with the kernels %s\n",
                              i == 0 ? "arithmetic" : "", peaks->units[i].flops / 1e9, peaks->units[i].factors,
                              peaks->units[i].isa);
    if (status == QUIRE_OK && peaks->memory_read > 0)
        status = output_print(output, err, "%-12s %9.1f GB/s read\n", "memory", peaks->memory_read / 1e9);
    if (status == QUIRE_OK && peaks->disk_read > 0)
        status = output_print(output, err, "%-12s %9.2f GB/s read, %.2f GB/s written\n", "disk", peaks->disk_read / 1e9,
                              peaks->disk_write / 1e9);
    return status;
}

/* A field of a row, as a rate or as a share; a dash for what was not measured. */
static char *rate_of(char buffer[TEXT_SIZE], const json_t *row, const char *field)
{
    return text_rate(buffer, json_number_value(json_object_get(row, field)),
                     json_is_null(json_object_get(row, field)) ? 0 : 1);
}

static char *share_of(char buffer[TEXT_SIZE], const json_t *row, const char *field)
{
    const json_t *value = json_object_get(row, field);
    if (json_is_null(value))
        snprintf(buffer, TEXT_SIZE, "-");
    else
        snprintf(buffer, TEXT_SIZE, "%.0f %%", 100 * json_number_value(value));
    return buffer;
}

static quire_status write_table(struct session *s, json_t *list, const quire_peaks *peaks, quire_error *err)
{
    struct output *output = &s->output;
    char threads[TEXT_SIZE];
    quire_status status = output_print(
        output, err, "%-12s %s\n%-12s %s, %s, %s keys and values\n", "model", quire_model_name(s->model), "kernels",
        quire_engine_isa(s->engine), text_counted(threads, quire_engine_n_threads(s->engine), "thread"), s->o->kv_type);
    if (status == QUIRE_OK)
        status = write_peaks_text(output, peaks, err);
    if (status == QUIRE_OK)
        status = output_print(output, err, "\n%9s  %14s %8s  %15s %8s  %11s  %10s\n", "context", "read, tokens/s",
                              "of peak", "decode, tokens/s", "of peak", "KV left out", "memory");
    for (size_t i = 0; i < json_array_size(list) && status == QUIRE_OK; i++) {
        const json_t *row = json_array_get(list, i);
        char context[TEXT_SIZE], memory[TEXT_SIZE], cells[5][TEXT_SIZE];
        text_count(context, (uint64_t)json_integer_value(json_object_get(row, "context")));
        text_bytes(memory, (uint64_t)json_integer_value(json_object_get(row, "resident_bytes")));
        status = output_print(output, err, "%9s  %14s %8s  %16s %8s  %11s  %10s\n", context,
                              rate_of(cells[0], row, "read_per_second"), share_of(cells[1], row, "read_share"),
                              rate_of(cells[2], row, "decode_per_second"), share_of(cells[3], row, "decode_share"),
                              share_of(cells[4], row, "kv_left_out"), memory);
    }
    return status;
}

/* ----------------------------------------------------------------------------------------------------------------- */

quire_status bench_write_peaks(struct session *s, const quire_peaks *peaks, quire_error *err)
{
    json_t *list = peaks_json(peaks);
    quire_status status;
    if (s->o->json)
        return json_write(json_pack("{s:o}", "peaks", list), &s->output, err);
    status = s->o->csv ? write_csv(&s->output, list, NULL, err) : write_peaks_text(&s->output, peaks, err);
    json_decref(list);
    return status;
}

quire_status bench_write_rows(struct session *s, const struct bench_row *rows, size_t n_rows, const quire_peaks *peaks,
                              quire_error *err)
{
    json_t *run = run_json(s), *list = json_array();
    double flops = quire_peaks_flops(peaks, quire_engine_isa(s->engine));
    quire_status status;
    for (size_t i = 0; i < n_rows; i++)
        json_array_append_new(list, row_json(&rows[i], flops, peaks->memory_read));
    if (s->o->json) {
        json_object_set_new(run, "peaks", peaks_json(peaks));
        json_object_set_new(run, "rows", list);
        return json_write(run, &s->output, err);
    }
    if (s->o->csv) { /* a line says all that a plot or a comparison needs */
        json_object_set_new(run, "peak_operations", json_finite(flops));
        json_object_set_new(run, "peak_memory_read", json_finite(peaks->memory_read));
        status = write_csv(&s->output, list, run, err);
    } else {
        status = write_table(s, list, peaks, err);
    }
    json_decref(run);
    json_decref(list);
    return status;
}
