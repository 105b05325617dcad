"""Backpropagation of sums and products
=======================================

Two apples at 100, three oranges at 150, 10 percent tax: multiplication and addition, forward and backward.

An addition passes its derivative on to both inputs. A multiplication passes on the derivative times the other input.
(Deep Learning from Scratch, section 5.4.)
"""

# sphinx_gallery_thumbnail_path = "thumbnails/apples_and_oranges.svg"
from xpnet import AddLayer, MulLayer

apple, apple_number, orange, orange_number, tax = 100, 2, 150, 3, 1.1
apples_layer, oranges_layer, sum_layer, tax_layer = MulLayer(), MulLayer(), AddLayer(), MulLayer()

apples = apples_layer.forward(apple, apple_number)
oranges = oranges_layer.forward(orange, orange_number)
fruit = sum_layer.forward(apples, oranges)
price = tax_layer.forward(fruit, tax)

d_fruit, d_tax = tax_layer.backward(1)
d_apples, d_oranges = sum_layer.backward(d_fruit)
d_orange, d_orange_number = oranges_layer.backward(d_oranges)
d_apple, d_apple_number = apples_layer.backward(d_apples)

print(f"price                       {price}")
print(f"slope by apple              {d_apple}")
print(f"slope by number of apples   {d_apple_number:.10g}")
print(f"slope by orange             {d_orange:.10g}")
print(f"slope by number of oranges  {d_orange_number:.10g}")
print(f"slope by tax                {d_tax}")

slopes = (d_apple_number, d_apple, d_orange, d_orange_number, d_tax)
assert price == 715.0000000000001
assert all(abs(slope - known) < 1e-12 for slope, known in zip(slopes, (110, 2.2, 3.3, 165, 650), strict=True))
