#include "train_plot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Points of a curve that a picture can show; more are averaged. */
enum { MOST_POINTS = 800 };

struct point {
    uint64_t step;
    double loss, rate;
};

struct curve {
    struct point *points;
    size_t n, capacity;
};

struct plot {
    struct curve train, eval;
};

/* Points from a step on belong to a part of the run that was taken back. */
static void cut(struct curve *curve, uint64_t step)
{
    while (curve->n > 0 && curve->points[curve->n - 1].step >= step)
        curve->n--;
}

static quire_status add(struct curve *curve, struct point point, quire_error *err)
{
    if (curve->n == curve->capacity) {
        size_t capacity = curve->capacity ? 2 * curve->capacity : 1024;
        struct point *grown = realloc(curve->points, capacity * sizeof *grown);
        if (!grown)
            return quire_fail(err, QUIRE_ERR_NO_MEMORY, "out of memory for a picture");
        curve->points = grown;
        curve->capacity = capacity;
    }
    curve->points[curve->n++] = point;
    return QUIRE_OK;
}

static quire_status read_line(struct plot *plot, const json_t *line, const char *path, size_t number, quire_error *err)
{
    const char *event = json_string_value(json_object_get(line, "event"));
    uint64_t step = (uint64_t)json_integer_value(json_object_get(line, "step"));
    struct point point = {step, json_number_value(json_object_get(line, "loss")),
                          json_number_value(json_object_get(line, "learning_rate"))};
    if (!event)
        return quire_fail(err, QUIRE_ERR_FORMAT, "'%s', line %zu: not a line of a training log", path, number);
    if (strcmp(event, "step") == 0) {
        cut(&plot->train, step);
        return add(&plot->train, point, err);
    }
    if (strcmp(event, "eval") == 0) {
        cut(&plot->eval, step);
        if (!json_is_number(json_object_get(line, "loss"))) /* the weights had gone out of bounds */
            return QUIRE_OK;
        return add(&plot->eval, point, err);
    }
    if (strcmp(event, "resume") == 0 || strcmp(event, "rollback") == 0 || strcmp(event, "start") == 0) {
        cut(&plot->train, step + 1); /* steps count from 1: this one is done */
        cut(&plot->eval, step + 1);
    }
    return QUIRE_OK;
}

/* A FIFO is not waited for. */
static quire_status open_log(FILE **out, const char *path, quire_error *err)
{
    struct stat st;
    const char *obstacle = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        obstacle = strerror(errno);
    else if (!S_ISREG(st.st_mode))
        obstacle = "expected a regular file";
    else if (!(*out = fdopen(fd, "r")))
        obstacle = strerror(errno);
    if (!obstacle)
        return QUIRE_OK;
    if (fd >= 0)
        close(fd);
    return quire_fail(err, QUIRE_ERR_IO, "cannot open '%s': %s", path, obstacle);
}

static quire_status read_log(struct plot *plot, const char *path, quire_error *err)
{
    char *text = NULL;
    size_t size = 0, number = 0;
    ssize_t n;
    FILE *f = NULL;
    quire_status status = open_log(&f, path, err);
    if (status != QUIRE_OK)
        return status;
    while (status == QUIRE_OK && (n = getline(&text, &size, f)) > 0) {
        json_t *line = text[n - 1] == '\n' ? json_loadb(text, (size_t)n, 0, NULL) : NULL;
        number++;
        if (line)
            status = read_line(plot, line, path, number, err);
        else if (text[n - 1] == '\n') /* the last line of a run that is writing may not be whole */
            status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s', line %zu: not JSON", path, number);
        json_decref(line);
    }
    if (status == QUIRE_OK && ferror(f))
        status = quire_fail(err, QUIRE_ERR_IO, "cannot read '%s': %s", path, strerror(errno));
    if (status == QUIRE_OK && plot->train.n == 0)
        status = quire_fail(err, QUIRE_ERR_FORMAT, "'%s' has no steps to draw", path);
    fclose(f);
    free(text);
    return status;
}

/* As a data block of gnuplot: step, loss, learning rate; means of so many neighbours that MOST_POINTS are left. */
static void write_curve(FILE *to, const char *name, const struct curve *curve)
{
    size_t step = (curve->n + MOST_POINTS - 1) / MOST_POINTS;
    fprintf(to, "$%s << EOD\n", name);
    for (size_t i = 0; i < curve->n; i += step) {
        size_t end = i + step < curve->n ? i + step : curve->n;
        double loss = 0;
        for (size_t j = i; j < end; j++)
            loss += curve->points[j].loss / (double)(end - i);
        fprintf(to, "%" PRIu64 " %.9g %.9g\n", curve->points[end - 1].step, loss, curve->points[end - 1].rate);
    }
    fprintf(to, "EOD\n");
}

static void write_script(FILE *to, const struct plot *plot)
{
    write_curve(to, "train", &plot->train);
    write_curve(to, "eval", &plot->eval);
    fprintf(to, "set terminal svg size 900,640 font 'sans,13' background 'white'\n"
                "set multiplot\n"
                "set grid back lc rgb '#dddddd'\n"
                "set lmargin 12\nset rmargin 3\n"
                "set origin 0,0.3\nset size 1,0.7\n"
                "set ylabel 'loss, nats a token'\nset key top right\n");
    fprintf(to, "plot $train using 1:2 with lines lw 1.5 lc rgb '#4477aa' title 'training'");
    if (plot->eval.n > 0)
        fprintf(to, ", $eval using 1:2 with linespoints lw 1.5 pt 7 ps 0.5 lc rgb '#cc6677' title 'validation'");
    fprintf(to,
            "\nset origin 0,0\nset size 1,0.3\nset ylabel 'learning rate'\nset xlabel 'step'\nset format y '%%.1e'\n"
            "plot $train using 1:3 with lines lw 1.5 lc rgb '#228833' notitle\nunset multiplot\n");
}

/* What failed leaves no half of a picture; a device that the picture was to go to stays. */
static bool remove_picture(const char *svg_path)
{
    struct stat st;
    return lstat(svg_path, &st) == 0 && S_ISREG(st.st_mode) && unlink(svg_path) == 0;
}

/* gnuplot with the script on its standard input and the picture on its standard output. */
static quire_status start(pid_t *child, int *script, const char *svg_path, quire_error *err)
{
    static char name[] = "gnuplot";
    char *arguments[] = {name, NULL};
    extern char **environ;
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return quire_fail(err, QUIRE_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, svg_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int result = posix_spawnp(child, name, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    if (result == 0) {
        *script = ends[1];
        return QUIRE_OK;
    }
    close(ends[1]);
    /* Where the picture could be made, it is the program that is not there. */
    if (result == ENOENT && remove_picture(svg_path))
        return quire_fail(err, QUIRE_ERR_IO,
                          "gnuplot is needed to draw and is not installed: apt-get install gnuplot-nox");
    return quire_fail(err, QUIRE_ERR_IO, "cannot start gnuplot to write '%s': %s", svg_path, strerror(result));
}

static quire_status draw(const struct plot *plot, const char *svg_path, quire_error *err)
{
    pid_t child = 0;
    int script = -1, result = 0;
    quire_status status = start(&child, &script, svg_path, err);
    if (status != QUIRE_OK)
        return status;
    FILE *to = fdopen(script, "w");
    if (to) {
        write_script(to, plot);
        fclose(to);
    } else {
        close(script);
    }
    while (waitpid(child, &result, 0) < 0 && errno == EINTR)
        ;
    if (to && WIFEXITED(result) && WEXITSTATUS(result) == 0)
        return QUIRE_OK;
    remove_picture(svg_path);
    return quire_fail(err, QUIRE_ERR_IO, "gnuplot could not draw '%s'", svg_path);
}

quire_status train_plot(const char *log_path, const char *svg_path, quire_error *err)
{
    struct plot plot = {0};
    quire_status status = read_log(&plot, log_path, err);
    if (status == QUIRE_OK)
        status = draw(&plot, svg_path, err);
    free(plot.train.points);
    free(plot.eval.points);
    return status;
}
