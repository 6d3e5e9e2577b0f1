/* The trainer's twin: the same model, loss and gradients in plain C and double precision, written to be read, with
 * every pair of tokens in a table. It is the specification: its gradients are checked against differences of its loss,
 * and the trainer against it. */
#ifndef QUIRE_TESTS_TRAIN_TWIN_H
#define QUIRE_TESTS_TRAIN_TWIN_H

#include "train/net.h"

struct twin_param {
    char name[96];
    size_t n;
    double *data, *grad; /* [n] */
};

struct twin {
    quire_config config;
    double z_loss;
    struct twin_param *params;
    size_t n_params;
};

/* Parameters as the net has them now; gradients zero. */
struct twin twin_of(const struct net *net, double z_loss);
void twin_release(struct twin *twin);

struct twin_param *twin_find(const struct twin *twin, const char *name); /* NULL: the model has none */

/* nll + z-loss, summed over the targets that count. scale > 0: adds scale times its gradients. nll: [T], or NULL. */
double twin_pass(struct twin *twin, const struct net_batch *batch, double scale, double *nll);

#endif
