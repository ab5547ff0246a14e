package imageprep_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/llama3v/llama3v/model/imageprep"
)

func Example() {
	config, err := imageprep.ParseConfig([]byte(`{
		"image_processor_type": "SiglipImageProcessor",
		"size": {"height": 84, "width": 84}, "resample": 3,
		"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := os.ReadFile("../../testdata/golden/images/in/photo_coffee.jpg")
	if err != nil {
		fmt.Println(err)
		return
	}
	picture, err := imageprep.Decode(data, imageprep.DecodeOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	tensor, shape, err := config.Tensor(picture)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(picture.Width, picture.Height, shape, len(tensor))
	// Output: 300 200 [3 84 84] 21168
}

func ExampleDecode_errors() {
	data, err := os.ReadFile("../../testdata/golden/images/bad/bomb.png")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = imageprep.Decode(data, imageprep.DecodeOptions{MaxPixels: 50_000_000})
	fmt.Println(err)
	fmt.Println(errors.Is(err, imageprep.ErrTooLarge))
	var details *imageprep.Error
	if errors.As(err, &details) {
		fmt.Println(details.Format, details.Width, details.Height)
	}
	// Output:
	// picture too large: PNG of 65500 x 65500: over the limit of 50000000 pixels
	// true
	// PNG 65500 65500
}

func ExampleFromText() {
	_, err := imageprep.FromText("https://example.com/cat.png", imageprep.DecodeOptions{})
	fmt.Println(err)
	_, err = imageprep.FromText("data:text/html,<html>not found</html>", imageprep.DecodeOptions{})
	fmt.Println(err)
	// Output:
	// picture unsupported: the text looks like a URL; pictures as text are base64 or a data URL
	// picture unsupported: HTML: read are PNG, JPEG, GIF, WebP, BMP and TIFF
}

func ExamplePicture_Resize() {
	row := &imageprep.Picture{Width: 4, Height: 1, Pix: []byte{0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255}}
	half, err := row.Resize(2, 1, imageprep.Bicubic)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(half.Pix)
	// Output: [107 107 107 148 148 148]
}
