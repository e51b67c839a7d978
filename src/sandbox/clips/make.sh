#!/bin/sh
# Makes the sandbox's media: short, real, playable, and small enough to live inside the binary.
# Needs ffmpeg with libx264 and libmp3lame. Run it in this folder; the results are committed.
set -eu

# clip NAME SOURCE FILTERS: three seconds of H.264 that every player and browser knows, index first.
clip() {
    ffmpeg -v error -y -f lavfi -i "$2" -t 3 -vf "$3,format=yuv420p" \
        -c:v libx264 -profile:v main -preset veryslow -crf 32 -g 48 -an \
        -map_metadata -1 -fflags +bitexact -flags:v +bitexact -movflags +faststart "$1.mp4"
}

dawn="c0=0xff9a8b:c1=0xff6a88:c2=0x6a5acd:c3=0x1e3c72"
reef="c0=0x0fd850:c1=0x00c6fb:c2=0x005bea:c3=0x2b1055"
ember="c0=0xf9d423:c1=0xff4e50:c2=0x8e2de2:c3=0x141e30"

clip wide-dawn "gradients=s=480x270:r=24:n=4:$dawn:seed=7:speed=0.03" "vignette=PI/5"
clip wide-waves "color=black:s=320x180:r=24,format=rgb24,geq=\
r='128+90*sin(X/38+T*1.4)+30*sin((X+Y)/27-T)':\
g='90+60*sin(Y/31-T*1.1)+30*sin(hypot(X-160\,Y-90)/19-T*2)':\
b='170+70*sin((X-Y)/45+T*0.8)'" "vignette=PI/5"
clip tall-reef "gradients=s=270x480:r=24:n=4:$reef:seed=3:speed=0.03" "vignette=PI/5"
clip tall-ember "gradients=s=270x480:r=24:n=4:$ember:seed=12:speed=0.02" "vignette=PI/4"
clip square-ember "gradients=s=320x320:r=24:n=4:$ember:seed=5:speed=0.03" "vignette=PI/5"
clip square-dawn "gradients=s=320x320:r=24:n=4:$dawn:seed=21:speed=0.02" "vignette=PI/4"

ffmpeg -v error -y -f lavfi -i "gradients=s=320x180:n=4:$reef:seed=3" -frames:v 1 -vf "vignette=PI/5" \
    -map_metadata -1 -fflags +bitexact -q:v 6 picture.jpg
ffmpeg -v error -y -f lavfi \
    -i "aevalsrc='0.25*(sin(2*PI*440*t)+sin(2*PI*554.37*t)+sin(2*PI*659.25*t))*exp(-1.5*t)':s=22050:d=2" \
    -c:a libmp3lame -b:a 32k -map_metadata -1 -fflags +bitexact -id3v2_version 0 -write_xing 0 chord.mp3
