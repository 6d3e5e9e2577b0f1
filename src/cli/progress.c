#include "progress.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "stream_write.h"
#include "text.h"

enum { MOST_COLUMNS = 200, BAR_COLUMNS = 30, BAR_STEP = 10 };
static const double REDRAW_SECONDS = 1.0 / 6, LINE_SECONDS = 10;

double progress_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress_open(struct progress *progress, bool is_quiet, bool is_verbose)
{
    const char *terminal = getenv("TERM");
    *progress = (struct progress){.is_quiet = is_quiet, .is_verbose = is_verbose};
    progress->is_terminal = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    progress_begin(progress);
}

/* A standard error that takes nothing keeps nobody. */
static void show(const char *text)
{
    (void)stream_write(STDERR_FILENO, text, strlen(text));
}

void progress_clear(struct progress *progress)
{
    if (progress->is_drawn)
        show("\r\033[K");
    progress->is_drawn = false;
}

static void QUIRE_PRINTF(2, 0) say(struct progress *progress, const char *format, va_list args)
{
    char message[2048], shown[2 * sizeof message], line[sizeof shown + 16];
    vsnprintf(message, sizeof message, format, args);
    text_printable(shown, sizeof shown, message);
    progress_clear(progress);
    snprintf(line, sizeof line, "quire: %s\n", shown);
    show(line);
}

#define SAY(condition)                                                                                                 \
    do {                                                                                                               \
        va_list args;                                                                                                  \
        va_start(args, format);                                                                                        \
        if (condition)                                                                                                 \
            say(progress, format, args);                                                                               \
        va_end(args);                                                                                                  \
    } while (0)

void progress_error(struct progress *progress, const char *format, ...)
{
    SAY(true);
}

void progress_note(struct progress *progress, const char *format, ...)
{
    SAY(!progress->is_quiet);
}

void progress_detail(struct progress *progress, const char *format, ...)
{
    SAY(progress->is_verbose);
}

void progress_begin(struct progress *progress)
{
    progress->phase_start = progress_now();
    /* The first bar comes at once, the first line after a while: short work stays quiet in a log. */
    progress->drawn_at = progress->is_terminal ? 0 : progress->phase_start;
    progress->has_first = false;
}

/* Whether it is time to show something again; if so, that time is now. */
static bool is_due(struct progress *progress, double now)
{
    if (progress->is_quiet || now - progress->drawn_at < (progress->is_terminal ? REDRAW_SECONDS : LINE_SECONDS))
        return false;
    progress->drawn_at = now;
    return true;
}

static size_t terminal_columns(void)
{
    struct winsize size;
    size_t columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    return columns < MOST_COLUMNS ? columns : MOST_COLUMNS;
}

/* A bar of `share` in front of the words, as long as there is room for it; the words are cut at the terminal's edge. */
static void draw(struct progress *progress, const char *label, double share, const char *words)
{
    char line[MOST_COLUMNS + BAR_COLUMNS + 300], shown[sizeof line + 16];
    if (!progress->is_terminal) {
        snprintf(line, sizeof line, "quire: %s %s\n", label, words);
        show(line);
        return;
    }
    size_t columns = terminal_columns();
    char bar[BAR_COLUMNS + 4] = "";
    size_t n_other = strlen(label) + strlen(words) + 6, n_bar = columns > n_other ? columns - n_other : 0;
    n_bar = n_bar < BAR_COLUMNS ? n_bar / BAR_STEP * BAR_STEP : BAR_COLUMNS; /* it does not move with every digit */
    if (share >= 0 && n_bar > 0) {
        size_t n_full = (size_t)((share < 1 ? share : 1) * (double)n_bar);
        char *to = bar;
        *to++ = '[';
        memset(to, '#', n_full);
        memset(to + n_full, '.', n_bar - n_full);
        memcpy(to + n_bar, "] ", 3);
    }
    snprintf(line, sizeof line, "%s %s%s", label, bar, words);
    line[columns - 1] = '\0'; /* a full line would wrap */
    snprintf(shown, sizeof shown, "\r%s\033[K", line);
    show(shown);
    progress->is_drawn = true;
}

void progress_input(struct progress *progress, uint64_t n_bytes, int64_t size, uint64_t n_tokens)
{
    double now = progress_now();
    if (!is_due(progress, now))
        return;
    char bytes[TEXT_SIZE], total[TEXT_SIZE], tokens[TEXT_SIZE], words[160];
    text_bytes(bytes, n_bytes);
    text_count(tokens, n_tokens);
    if (size > 0)
        snprintf(words, sizeof words, "%s of %s, %s tokens", bytes, text_bytes(total, (uint64_t)size), tokens);
    else
        snprintf(words, sizeof words, "%s, %s tokens", bytes, tokens);
    draw(progress, "input", size > 0 ? (double)n_bytes / (double)size : -1, words);
}

void progress_prefill(struct progress *progress, const quire_progress *state)
{
    double now = progress_now();
    if (!progress->has_first) {
        progress->has_first = true;
        progress->first_work = state->work_done;
        progress->first_tokens = state->n_tokens;
        progress->phase_start = now;
    }
    if (!is_due(progress, now))
        return;

    char done[TEXT_SIZE], total[TEXT_SIZE], rate[TEXT_SIZE], left[TEXT_SIZE], words[200];
    double seconds = now - progress->phase_start, work = state->work_done - progress->first_work;
    uint64_t n_new = state->n_tokens > progress->first_tokens ? state->n_tokens - progress->first_tokens : 0;
    int n = snprintf(words, sizeof words, "%3.0f%%  %s of %s tokens", 100 * state->work_done,
                     text_count(done, state->n_tokens), text_count(total, state->n_tokens_total));
    if (n_new > 0 && seconds > 0)
        n += snprintf(words + n, sizeof words - (size_t)n, "  %s tokens/s", text_rate(rate, (double)n_new, seconds));
    if (work > 0 && seconds > 1) /* an estimate from less jumps about */
        snprintf(words + n, sizeof words - (size_t)n, "  %s left",
                 text_time(left, seconds * (1 - state->work_done) / work));
    draw(progress, "reading", state->work_done, words);
}

void progress_bytes(struct progress *progress, const char *label, uint64_t n_bytes, uint64_t n_most)
{
    double now = progress_now();
    if (!is_due(progress, now))
        return;
    char done[TEXT_SIZE], most[TEXT_SIZE], rate[TEXT_SIZE], words[160];
    double seconds = now - progress->phase_start;
    snprintf(words, sizeof words, "%s of %s  %s/s", text_bytes(done, n_bytes), text_bytes(most, n_most),
             text_bytes(rate, seconds > 0 ? (uint64_t)((double)n_bytes / seconds) : 0));
    draw(progress, label, n_most > 0 ? (double)n_bytes / (double)n_most : -1, words);
}

void progress_writing(struct progress *progress, uint64_t n_tokens, uint64_t n_most)
{
    double now = progress_now();
    if (!is_due(progress, now))
        return;
    char done[TEXT_SIZE], most[TEXT_SIZE], rate[TEXT_SIZE], words[160];
    snprintf(words, sizeof words, "%s of at most %s tokens  %s tokens/s", text_count(done, n_tokens),
             text_count(most, n_most), text_rate(rate, (double)n_tokens, now - progress->phase_start));
    draw(progress, "writing", (double)n_tokens / (double)n_most, words);
}

void progress_documents(struct progress *progress, uint64_t n_documents, uint64_t n_bytes)
{
    if (!is_due(progress, progress_now()))
        return;
    char documents[TEXT_SIZE], bytes[TEXT_SIZE], words[160];
    snprintf(words, sizeof words, "%s, %s", text_counted(documents, n_documents, "document"),
             text_bytes(bytes, n_bytes));
    draw(progress, "tokenising", -1, words);
}

void progress_training(struct progress *progress, const quire_training_event *step, double share_of_peak)
{
    double now = progress_now();
    if (!is_due(progress, now))
        return;
    char rate[TEXT_SIZE], left[TEXT_SIZE], share[40] = "", words[200];
    if (share_of_peak > 0)
        snprintf(share, sizeof share, " (%.1f %% of peak)", 100 * share_of_peak);
    snprintf(words, sizeof words, "step %" PRIu64 "/%" PRIu64 "  loss %.4f  %s tokens/s%s  %s left", step->step,
             step->n_steps, step->loss, text_rate(rate, step->tokens_per_second, 1), share,
             text_time(left, step->seconds_left));
    draw(progress, "training", (double)step->step / (double)step->n_steps, words);
}
