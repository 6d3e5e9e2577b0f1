/* The models of tests/golden that are a recipe, not a file: blocks of random bits in every type. */
#ifndef QUIRE_TESTS_ENGINE_GOLDEN_TYPES_H
#define QUIRE_TESTS_ENGINE_GOLDEN_TYPES_H

/* Writes the model of tests/golden/<name>/recipe.txt as a GGUF file, as make_golden.py describes it. Ends the program
 * where it cannot. */
void golden_write_types(const char *path, const char *name);

#endif
