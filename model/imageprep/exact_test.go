package imageprep

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestChromaIsExact holds interpolation and colour of JPEGs to Pillow 13, bit for bit. Their blocks
// of 8 x 8 samples have one level each, which every inverse cosine transform gives exactly, so that
// only those two steps are left to differ. The names are subsampling, size, and 1 for progressive;
// the sums are of Pillow's RGB.
func TestChromaIsExact(t *testing.T) {
	for _, tc := range []struct{ file, sum string }{
		{"420_100x7_0.jpg", "1446424844c8d5456363f1c6a64a9770e3f4a11f826c28fb73292a366cc651e5"},
		{"420_33x50_0.jpg", "89dafe95523ba46b77edc4dade3e274201cd53a8e86a3e1f9e14b069bc23d3fc"},
		{"420_33x50_1.jpg", "56244a4fb349d5853206e75caacf52a31e87dfae188b47c70fd4e38407c95038"},
		{"420_4x4_0.jpg", "4446b7d9e93d4c4490631a1d005c1b7472e0df1ebe7b30172c3ab483e2baee14"},
		{"420_5x90_0.jpg", "4df3f69bb962934ddfea0d3219af12e51c92b65993a82b535e5aed5ad1f22a80"},
		{"422_100x7_1.jpg", "eeae16aeb225f3f2c9ffa4c0a23297a031113937a29ac3ed07b683244a56ee0f"},
		{"422_17x31_0.jpg", "dd0386bf186a73e5b050f72a5c9c7a1bcccb91d25cd3128c014219e27e2efe9c"},
		{"422_3x3_0.jpg", "b2e5ea4ceace2b340c1a04920966d404ff903b2c0156d95428fe1dcee6050acc"},
		{"444_17x31_0.jpg", "8e98b04d608a22d663c001a7c1a81bbf3635ad43ff674df39cd2c0c8f638b68a"},
	} {
		t.Run(tc.file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata/exact", tc.file))
			require.NoError(t, err)
			p, err := Decode(data, DecodeOptions{})
			require.NoError(t, err)
			require.Equal(t, tc.sum, hash(p.Pix))
		})
	}
}

// TestVariants covers forms that the golden files have not: TIFF packings, alpha in BMP, frames
// smaller and larger than their GIF's screen, transparent colours. The sums are of Pillow 13's RGB,
// and of its straight RGBA on white, "" where it sees no transparency; 16-bit grey is its upper byte.
func TestVariants(t *testing.T) {
	for _, tc := range []struct{ file, drop, white string }{
		{"13x7_anim.webp", "d26fbf185eb83347fadbf38878b2b34d396241a28215a1d9828b057d13a31262", "7c28cddac6f7b8c898b246b3bbbe9b5be237e50e233072a49f0185af51177f67"},
		{"13x7_animl.webp", "38483edc256e1961c5e5ab9d81622f26e1d860cd2056013f12940c0534233e6c", "41e88bc08c1d4723fb62fb0dd2a2935abd2da15f3a2fd7208014e64ddf48e18c"},
		{"13x7_aq75e.webp", "099bd1860c7f074707c396443a496b55a021bd1dccd90b710cfe4c837abce02d", "0d34c1fb3aae16e8e6ef7efeebdc8e6a3ffc062278f190af85161b1ddd34634b"},
		{"13x7_g16_tiff_lzw.tif", "db251cfd15837715745e1ae73feaf21db7916b70ad01bc32679f5d4dd2fe6edd", ""},
		{"13x7_g3.tif", "afb3e77a35676c1d33588d4f09574d5ce71b727309f22db78db6e6820ff52b11", ""},
		{"13x7_g4.tif", "afb3e77a35676c1d33588d4f09574d5ce71b727309f22db78db6e6820ff52b11", ""},
		{"13x7_la.png", "1faf2eea7c66a7477aed440b2f7953f02a88a7096adaa492f0db18c85012d13f", "70421cbf08d7f311cd0867b8ed8273b86bf2c63355cd8692082c6e262c93ba39"},
		{"13x7_ll.webp", "6c5f77dd78f816ce1a79b6b3a53445deaa6f87422af06827bf7e958e73586d8f", "7c28cddac6f7b8c898b246b3bbbe9b5be237e50e233072a49f0185af51177f67"},
		{"13x7_o5.tif", "705d893703bc31851cf00d14c868984efbdbbd5f1084e53698a99d1cb29496a0", ""},
		{"13x7_o7.webp", "3693f79a9a07a96f4a71fa5ccf830b00a9ac64744dc4d4104c38f8b33cb63338", ""},
		{"13x7_o8.png", "dcf9c8f15426042818d14adfaf196f5795e9f4bd99fe8d3df980fdc56c79b70d", ""},
		{"13x7_one.bmp", "afb3e77a35676c1d33588d4f09574d5ce71b727309f22db78db6e6820ff52b11", ""},
		{"13x7_one_raw.tif", "afb3e77a35676c1d33588d4f09574d5ce71b727309f22db78db6e6820ff52b11", ""},
		{"13x7_pal_packbits.tif", "362c13042c11d7193855b141b8c191c1c6e86f540b2c84a1710f08cbf40d458e", ""},
		{"13x7_rgba_tiff_adobe_deflate.tif", "6c5f77dd78f816ce1a79b6b3a53445deaa6f87422af06827bf7e958e73586d8f", "7c28cddac6f7b8c898b246b3bbbe9b5be237e50e233072a49f0185af51177f67"},
		{"33x20_pt.gif", "03e59bb5a5b2a8f8062aa3a3870ffb5682114c7d5694dfed47b7950a58a196d0", "9f323f06a2997b8947af6b47dc15fc66e594b47571af2387414977a8df1d13c8"},
		{"gap.bmp", "177d4f7c04d02b1753505aea518fdca154ccf8010eaa036ed997f4a2e35cb6b1", ""},
		{"grow.gif", "60fae953aa5f16034484c6b03be65d068e305bfc619c2908b06e8f66617a870d", ""},
		{"i40bf.bmp", "177d4f7c04d02b1753505aea518fdca154ccf8010eaa036ed997f4a2e35cb6b1", ""},
		{"partial.gif", "9820ddf381b0c6729acc46e8ee9fdb0461c63da9f9928a0feb6446da92f9fd9c", ""},
		{"partial_t.gif", "92e8851bb6c484c896cf0410de77c3ff14921991d0cbf57237d6f77ac5b56d1a", "3ac1d05bf928aecb69ab3fdf8e5e6cd6bf21a35c3ff26af57a13c7768292b2ff"},
		{"v4.bmp", "177d4f7c04d02b1753505aea518fdca154ccf8010eaa036ed997f4a2e35cb6b1", "88d945b96c1539761f834e712f045a3dbeba1f652acbcfd7039f18cb99a3f428"},
		{"v4td.bmp", "2bb16454739d3a675240cfa76875a7d52f7a084316a7555d2383494ad3d315c8", "62cea006ffe1902a1d1c5d830af28f1a9b9570c3dd180094a6768565f48574af"},
		{"v5rgb.bmp", "177d4f7c04d02b1753505aea518fdca154ccf8010eaa036ed997f4a2e35cb6b1", ""},
	} {
		t.Run(tc.file, func(t *testing.T) {
			data := readVariant(t, tc.file)
			drop, err := Decode(data, DecodeOptions{Alpha: AlphaDrop})
			require.NoError(t, err)
			require.Equal(t, tc.drop, hash(drop.Pix))
			white, err := Decode(data, DecodeOptions{})
			require.NoError(t, err)
			switch {
			case tc.white != "":
				require.Equal(t, tc.white, hash(white.Pix), "on white")
			case tc.file == "partial.gif" || tc.file == "grow.gif":
				require.Equal(t, []byte{255, 255, 255}, white.Pix[:3], "outside the frame")
			default:
				require.Equal(t, drop, white)
			}
		})
	}
}

func readVariant(t testing.TB, name string) []byte {
	data, err := os.ReadFile(filepath.Join("testdata/variants", name))
	require.NoError(t, err)
	return data
}
